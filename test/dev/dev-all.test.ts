// `npm run dev:all`: the worker and the tunnel, started and ended together. The tunnel is a stand-in: the script
// `dev:webhook` of a temporary package.json.
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect, type TestContext, test } from 'vitest'
import { openShopForTest, type Running, type Shop } from '../cli/command.ts'
import { createGate } from '../support/gate.ts'

/** Says its pid, answers `/end` on stdin's place: a file that the test makes. Ends with 0 after a signal. */
const tunnelStandIn = `
import { existsSync } from 'node:fs'
process.on('SIGINT', () => process.exit(0)).on('SIGTERM', () => process.exit(0))
console.log('tunnel pid', process.pid)
setInterval(() => { if (existsSync('end-the-tunnel')) process.exit(1) }, 20)`

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}

interface Together {
  readonly shop: Shop
  readonly port: number
  readonly running: Running
  /** Everything said so far. */
  said(): string
  /** The processes of this group that are alive. */
  alive(): Promise<{ pid: number; command: string }[]>
}

/** Both at work, with a full pass held in its second page if `isHeld`. */
async function startBoth(context: TestContext, options: { isHeld?: boolean } = {}): Promise<Together> {
  const shop = await openShopForTest(context, { count: 700 })
  const { directory } = shop.project
  const scripts = JSON.parse(await readFile(join(directory, 'package.json'), 'utf8'))
  scripts.scripts['dev:webhook'] = 'exec node tunnel.mjs'
  await shop.project.write('package.json', JSON.stringify(scripts))
  await shop.project.write('tunnel.mjs', tunnelStandIn)
  const reached = createGate()
  const released = createGate()
  context.onTestFinished(released.open)
  if (options.isHeld) {
    shop.sandbox.onRequest = async ({ endpoint }) => {
      if (endpoint !== 'list') return
      const [row] = await shop.database.sql`select from users limit 1`
      if (row === undefined) return
      reached.open()
      await released.opened
    }
  }
  const port = await freePort()
  const running = shop.project.start(['npm', 'run', 'dev:all'], { ...shop.env, PORT: `${port}` })
  let output = ''
  running.child.stdout?.on('data', (text: string) => {
    output += text
  })
  await Promise.all([running.said('tunnel pid'), running.said('listening')])
  if (options.isHeld) await reached.opened
  return {
    shop,
    port,
    running,
    said: () => output,
    async alive() {
      const ps = shop.project.start(['ps', '-e', '-o', 'pgid=,pid=,stat=,args='], {})
      const { stdout } = await ps.ended
      const processes = stdout.split('\n').map((line) => line.trim().split(/\s+/))
      // A zombie has ended; whoever has to read its exit code has not yet.
      const mine = processes.filter(
        ([group, , state]) => group === `${running.child.pid}` && state?.[0] !== 'Z',
      )
      return mine.map(([, pid, , ...args]) => ({ pid: Number(pid), command: args.join(' ') }))
    },
  }
}

const runsOf = (shop: Shop) => shop.database.sql<{ status: string }[]>`select status from clerk_sync.runs`

test.concurrent('starts both, named', async (context) => {
  const both = await startBoth(context)
  expect(both.said()).toMatch(/^\S*\[worker\]\S* .*"msg":"listening"/m)
  expect(both.said()).toMatch(/^\S*\[tunnel\]\S* tunnel pid/m)
  expect((await fetch(`http://127.0.0.1:${both.port}/healthz`)).status).toBe(200)
  both.running.child.kill('SIGTERM')
  await both.running.ended
  expect(await both.alive()).toEqual([])
})

test.concurrent.for([
  { how: 'to the whole group, as a terminal sends it', signal: 'SIGINT', toGroup: true },
  { how: 'to npm alone', signal: 'SIGINT', toGroup: false },
  { how: 'to npm alone', signal: 'SIGTERM', toGroup: false },
] as const)(
  '$signal $how ends both in good order: a run under way is aborted, nothing is left behind',
  async ({ signal, toGroup }, context) => {
    const { shop, running, alive } = await startBoth(context, { isHeld: true })
    const pid = running.child.pid ?? 0
    process.kill(toGroup ? -pid : pid, signal)
    const { code } = await running.ended
    if (signal === 'SIGINT') expect(code).toBe(0)
    expect(await runsOf(shop)).toEqual([{ status: 'aborted' }])
    expect(await alive()).toEqual([])
  },
)

test.concurrent('a worker that takes its time after SIGINT still ends in good order, though the tunnel has long ended', async (context) => {
  const { shop, running, alive } = await startBoth(context, { isHeld: true })
  await shop.database.connect().begin(async (tx) => {
    // Somebody holds the run's row, so that its end cannot be written yet.
    await tx`select from clerk_sync.runs for update`
    running.child.kill('SIGINT')
    await running.said('Sending SIGTERM to other processes')
    await running.said('"signal":"SIGINT"')
    // SIGTERM is on its way; a worker that took it for impatience would be gone at once.
    const from = performance.now()
    while (performance.now() - from < 1000) {
      expect((await alive()).map(({ command }) => command)).toContain(
        `${process.execPath} --import tsx src/dev/cli.ts worker`,
      )
    }
  })
  expect((await running.ended).code).toBe(0)
  expect(await runsOf(shop)).toEqual([{ status: 'aborted' }])
})

test.concurrent('when the tunnel dies the worker ends in good order', async (context) => {
  const { shop, running, alive } = await startBoth(context, { isHeld: true })
  await shop.project.write('end-the-tunnel', '')
  expect((await running.ended).code).toBe(1)
  expect(await runsOf(shop)).toEqual([{ status: 'aborted' }])
  expect(await alive()).toEqual([])
})

test.concurrent('when the worker is killed the tunnel ends', async (context) => {
  const { running, alive } = await startBoth(context)
  for (const { pid, command } of await alive())
    if (command.includes('src/dev/cli.ts')) process.kill(pid, 'SIGKILL')
  expect((await running.ended).code).not.toBe(0)
  expect(await alive()).toEqual([])
})
