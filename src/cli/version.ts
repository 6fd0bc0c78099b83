// The version that this code was released as.
import { readFileSync } from 'node:fs'

// Beside the sources and beside the compiled build.
const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

export const { version } = manifest
