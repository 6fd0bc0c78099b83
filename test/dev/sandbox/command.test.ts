// `npm run sandbox` as a process: what it prints works, and it stops when it is told.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { get, start } from './client.ts'

const main = fileURLToPath(new URL('../../../src/dev/sandbox.ts', import.meta.url))

function run(...args: string[]) {
  const child = spawn(process.execPath, ['--import', 'tsx', main, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  child.stdout.setEncoding('utf8')
  child.stderr.setEncoding('utf8')
  return child
}

it('prints the lines for .env, answers to them, and stops at SIGTERM', async () => {
  const child = run('--port', '0', '--users', '12')
  const exited = once(child, 'exit')
  const [text] = (await once(child.stdout, 'data')) as [string]
  const value = (name: string) => new RegExp(`^${name}=(\\S+)$`, 'm').exec(text)?.[1] ?? ''
  const headers = { authorization: `Bearer ${value('CLERK_SECRET_KEY')}` }
  const response = await fetch(`${value('CLERK_API_URL')}/v1/users/count`, { headers })
  expect(await response.json()).toEqual({ object: 'total_count', total_count: 12 })
  expect(value('CLERK_WEBHOOK_SIGNING_SECRET')).toMatch(/^whsec_/)
  expect(text).toContain('curl -H')
  child.kill('SIGTERM')
  expect((await exited)[0]).toBe(0)
})

it('names a taken port and exits with 1', async () => {
  const sandbox = await start()
  const child = run('--port', String(sandbox.port), '--users', '1')
  const exited = once(child, 'exit')
  const [text] = (await once(child.stderr, 'data')) as [string]
  expect(text).toContain(`Port ${sandbox.port} is taken`)
  expect((await exited)[0]).toBe(1)
  expect((await get(sandbox, '/users')).status).toBe(200)
})
