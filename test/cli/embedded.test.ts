// Without DATABASE_URL: an embedded Postgres in the folder where the command is typed, for as long as a command needs it.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import { expect, type TestContext, test } from 'vitest'
import { createGate } from '../support/gate.ts'
import {
  clerkSyncFromSource,
  compiledClerkSync,
  type Ended,
  linesOf,
  openShop,
  type Shop,
} from './command.ts'

/** A shop whose commands are not told of its database. */
async function openShopWithoutDatabase(
  context: TestContext,
): Promise<Shop & { env: Record<string, string> }> {
  const shop = await openShop({ count: 12 })
  context.onTestFinished(async () => {
    await shop.close()
    expect(shop.leaks()).toEqual([])
  })
  const { DATABASE_URL: _url, ...env } = shop.env
  return { ...shop, env }
}

const typed = (shop: Shop, ...args: string[]) =>
  shop.project.start([...clerkSyncFromSource, ...args], shop.env).ended

const reportIn = (ended: Ended) => linesOf(ended.stdout).find((line) => line.msg === 'run finished')?.report

/** True while a Postgres of this project runs: it removes the file when it stops. */
const isRunning = (shop: Shop) =>
  existsSync(join(shop.project.directory, '.data/postgres/cluster/data/postmaster.pid'))

test('a first sync makes .data, later commands find its rows, and none leaves a Postgres behind', async (context) => {
  const shop = await openShopWithoutDatabase(context)
  const first = await typed(shop, 'sync')
  expect(first).toMatchObject({ code: 0, stderr: '' })
  expect(reportIn(first)).toMatchObject({ counts: { seen: 12, created: 12 } })
  // What the README recommends is nothing to be warned of.
  expect(linesOf(first.stdout).filter((line) => line.level === 'warn')).toEqual([])
  const [line] = linesOf(first.stdout).filter(({ msg }) => `${msg}`.startsWith('embedded Postgres'))
  expect(line).toMatchObject({ folder: '.data/', msg: 'embedded Postgres, as long as this command runs' })
  expect(line?.url).toMatch(/^postgres:\/\/postgres@127\.0\.0\.1:\d+\/clerk_sync_dev$/)
  expect(await readdir(shop.project.directory)).toContain('.data')
  expect(isRunning(shop)).toBe(false)

  // Two at once share it, and the last one to leave stops it.
  const [status, second] = await Promise.all([typed(shop, 'status', '--json'), typed(shop, 'sync')])
  expect(JSON.parse(status.stdout)).toMatchObject({ instanceId: shop.sandbox.instanceId, rows: 12 })
  expect(reportIn(second)).toMatchObject({ counts: { seen: 12, unchanged: 12, created: 0 } })
  expect(isRunning(shop)).toBe(false)

  if (spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout?.includes('util-linux')) {
    const line = [...clerkSyncFromSource, 'sync'].join(' ')
    const { stdout } = await shop.project.start(['script', '-qec', line, '/dev/null'], shop.env).ended
    // A person can open it with any tool while the command runs.
    expect(stdout).toMatch(
      /DATABASE_URL is not set\. Embedded Postgres: postgres:\/\/postgres:[\w-]{32}@127\.0\.0\.1:\d+\/clerk_sync_dev/,
    )
    expect(stdout).toContain('It runs as long as this command; npm run db:up keeps it up.')
    expect(isRunning(shop)).toBe(false)
  }
})

test('Ctrl-C while Postgres is being made, started or used leaves none running, and the next command goes on', async (context) => {
  const shop = await openShopWithoutDatabase(context)
  const released = createGate()
  shop.sandbox.onRequest = () => released.opened
  for (const word of ['creating a Postgres', 'starting Postgres', '"embedded Postgres,']) {
    const running = shop.project.start([...clerkSyncFromSource, 'sync'], shop.env)
    await running.said(word)
    if (word === '"embedded Postgres,') expect(isRunning(shop)).toBe(true)
    process.kill(-(running.child.pid ?? 0), 'SIGINT')
    const ended = await running.ended
    expect({ word, code: ended.code, running: isRunning(shop) }).toEqual({ word, code: 130, running: false })
  }
  released.open()
})

test('production, a live key and the compiled build refuse to make one', async (context) => {
  const shop = await openShopWithoutDatabase(context)
  const compiled = await compiledClerkSync()
  const [production, live, packaged] = await Promise.all([
    shop.project.start([...clerkSyncFromSource, 'sync'], { ...shop.env, NODE_ENV: 'production' }).ended,
    shop.project.start([...clerkSyncFromSource, 'sync'], {
      ...shop.env,
      CLERK_SECRET_KEY: 'sk_live_Bd8fWp3sYn6k',
    }).ended,
    shop.project.start([...compiled, 'sync'], shop.env).ended,
  ])
  for (const ended of [production, live, packaged]) {
    expect(ended.code).toBe(78)
    expect(ended.stderr).toContain('DATABASE_URL')
    expect(ended.stderr).not.toContain('Bd8fWp3sYn6k')
  }
  // One message, not first the one and then the other.
  expect(linesOf(`${packaged.stdout}${packaged.stderr}`)).toHaveLength(1)
  expect(packaged.stderr).toContain('DATABASE_URL: is not set. Set it to your Postgres')
  expect(await readdir(shop.project.directory)).not.toContain('.data')
  expect(shop.sandbox.requests).toEqual([])
})

test('what bin and image run has none, also in a source checkout', async (context) => {
  const shop = await openShopWithoutDatabase(context)
  const command = [process.execPath, '--import', 'tsx', 'src/main.ts', 'sync']
  const ended = await shop.project.start(command, shop.env).ended
  expect(ended.code).toBe(78)
  expect(ended.stderr).toContain('Set DATABASE_URL. Only the npm scripts of a source checkout')
  expect(await readdir(shop.project.directory)).not.toContain('.data')
  expect(shop.sandbox.requests).toEqual([])
})

test('db:up keeps it up until a signal, at the address that other commands use, and stops it then', async (context) => {
  const shop = await openShopWithoutDatabase(context)
  const up = shop.project.start(['npm', 'run', '--silent', 'db:up'], {})
  let said = ''
  up.child.stdout?.on('data', (text: string) => {
    said += text
  })
  await up.said('Ctrl+C')
  const url = /psql '(postgres:[^']+)'/.exec(said)?.[1] ?? ''
  expect((await typed(shop, 'sync')).code).toBe(0)
  const sql = postgres(url, { max: 1 })
  expect(await sql`select count(*)::int as rows from users`).toEqual([{ rows: 12 }])
  await sql.end()
  expect(isRunning(shop)).toBe(true)
  process.kill(-(up.child.pid ?? 0), 'SIGINT')
  expect(await up.ended).toMatchObject({ code: 0 })
  expect(isRunning(shop)).toBe(false)

  const other = await shop.project.start(['npm', 'run', '--silent', 'db:up'], {
    DATABASE_URL: 'postgres://u:p@127.0.0.1:1/d',
  }).ended
  expect(other).toMatchObject({ code: 78, stderr: expect.stringContaining('DATABASE_URL is set') })
})
