// `npm run db:studio`: drizzle-kit's table browser on the database that the tool itself would use, also the embedded
// one, which runs as long as somebody looks.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { refuseSwallowed } from '../cli/command-line.ts'
import { openCommandDatabase } from '../cli/database.ts'
import { outliveReaders, sayError } from '../cli/output.ts'
import { loadDatabase } from '../config/config.ts'
import { exitCodeOfError } from '../sync/report.ts'
import { openEmbeddedPostgres } from './embedded-postgres/embedded-postgres.ts'

// Ctrl-C reaches the browser too; this process stays for the embedded Postgres.
process.on('SIGINT', () => {}).on('SIGTERM', () => {})

outliveReaders()
try {
  // drizzle-kit's own.
  refuseSwallowed(
    ['port', 'host'].map((name) => ({ name, takesValue: true })),
    process.argv.slice(2),
  )
  const { database: configured, warnings } = loadDatabase()
  for (const warning of warnings) process.stderr.write(`${warning}\n`)
  const database = await openCommandDatabase(configured, openEmbeddedPostgres, (message) =>
    process.stderr.write(`${message}\n`),
  )
  try {
    process.exitCode = await runStudio('url' in configured ? configured.url : (database.embeddedUrl ?? ''))
  } finally {
    await database.close()
  }
} catch (error) {
  sayError(error)
  process.exitCode = exitCodeOfError(error)
}

/** The address goes through the environment, where drizzle.config.ts reads it and no list of processes shows it. */
async function runStudio(url: string): Promise<number> {
  const kit = dirname(createRequire(import.meta.url).resolve('drizzle-kit'))
  const child = spawn(process.execPath, [join(kit, 'bin.cjs'), 'studio', ...process.argv.slice(2)], {
    stdio: 'inherit',
    // biome-ignore lint/style/noProcessEnv: handed on whole, nothing is read
    env: { ...process.env, DATABASE_URL: url },
  })
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  const [code] = (await once(child, 'exit')) as [number | null]
  return code ?? 0
}
