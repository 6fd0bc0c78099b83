// `npm run demo` as a stranger types it, with a real-looking configuration lying around that it must not touch; and the
// same for the tests' own setup.

import { mkdir, readdir } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { createProject, type Ended, type Environment, openTrap, type Project } from '../cli/command.ts'

let trap: Awaited<ReturnType<typeof openTrap>>
let project: Project
/** Where the demo puts what is temporary. */
let temporary: string
/** Leads to the trap, as the files in the project do. */
let env: Environment

beforeAll(async () => {
  trap = await openTrap()
  project = await createProject()
  temporary = join(project.directory, 'tmp')
  await mkdir(temporary)
  const leadingAstray = {
    DATABASE_URL: `postgres://app:Hs6tLq2vRw8z@${new URL(trap.httpUrl).host}/app`,
    CLERK_SECRET_KEY: 'sk_live_Hs6tLq2vRw8z',
    CLERK_API_URL: trap.httpUrl,
  }
  const lines = Object.entries(leadingAstray).map(([name, value]) => `${name}=${value}\n`)
  for (const file of ['.env', '.env.local']) await project.write(file, lines.join(''))
  env = { ...leadingAstray, NODE_ENV: 'production', TMPDIR: temporary }
})
afterAll(async () => {
  await project.remove()
  await trap.close()
})

/** What of the demo is still there: its folders, and its Postgres if it answers. */
async function remains({ stdout }: Ended): Promise<string[]> {
  const folders = (await readdir(temporary)).filter((name) => name.startsWith('clerk-sync'))
  const port = /Postgres on 127\.0\.0\.1:(\d+)/.exec(stdout)?.[1]
  if (port === undefined) return folders
  const answers = await new Promise<boolean>((resolve) => {
    const socket = connect(Number(port), '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.unref()
  })
  return answers ? [...folders, `Postgres on ${port}`] : folders
}

describe('the demo in a pipe', () => {
  let ended: Ended
  let left: string[]

  beforeAll(async () => {
    ended = await project.start(['npm', 'run', '--silent', 'demo'], env).ended
    left = await remains(ended)
  })

  test('plays to its end, and every claim holds', () => {
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(ended.stdout).not.toContain('✗')
    expect(ended.stdout).toMatch(/All \d\d claims held/)
    expect(ended.stdout.match(/✓/g)?.length).toBeGreaterThanOrEqual(17)
  })

  test('tells the story in numbers', () => {
    const story = [
      '3,217 seen, 3,217 created;',
      '3,217 rows, 16,085 values compared one by one, 0 differ',
      'still 3,217 inserted, 0 updated, 0 deleted',
      'dry run succeeded: 3,230 seen, 25 created, 40 updated, 60 refreshed, 3,105 unchanged, 12 deleted;',
      '… and 38 more to update',
      '25 inserted, 100 updated, 12 deleted',
      'the delivery is answered 200 created',
      'the late repeat is answered 200 stale',
      '$ npm run sync -- --incremental',
      'incremental pass succeeded:',
      '1,200 withheld;',
      'exit 3',
      '$ npm run sync -- --approve-deletes 1200',
      '2,036 unchanged, 1,200 deleted;',
      'the key is of instance',
      'exit 78',
      '.env.example',
    ]
    let place = 0
    for (const words of story) {
      const found = ended.stdout.indexOf(words, place)
      expect({ words, found: found >= place }).toEqual({ words, found: true })
      place = found
    }
  })

  test('connects to nothing that the environment or a file names, and names none of it', () => {
    expect(trap.connections()).toBe(0)
    expect(ended.stdout).not.toContain('Hs6tLq2vRw8z')
  })

  test('leaves no folder and no Postgres behind', () => {
    expect(left).toEqual([])
  })

  test('names nobody, but for the one line that shows what --show-values does', () => {
    const lines = ended.stdout.split('\n')
    const shown = lines.findIndex((line) => line.includes('--show-values'))
    expect(lines[shown + 1]).toMatch(/^ +~ user_\w+ {2}(name|email) + ".+" → ".+"/)
    const rest = lines.toSpliced(shown + 1, 1).join('\n')
    const people = seedUsers({ count: 3217 }).flatMap((user) => [
      `${user.first_name} ${user.last_name}`,
      ...user.email_addresses.map((each) => each.email_address),
    ])
    // Some of the seeded names are white space.
    expect(people.filter((each) => each.trim().length >= 6 && rest.includes(each))).toEqual([])
  })
})

test.for([
  { moment: 'Starting a Clerk', signal: 'SIGINT', code: 130 },
  { moment: '2. The same again', signal: 'SIGTERM', code: 143 },
] as const)('$signal at "$moment" ends the demo and cleans up', async ({ moment, signal, code }) => {
  const running = project.start(['npm', 'run', '--silent', 'demo'], env)
  await running.said(moment)
  // As a terminal does it: the whole group, Postgres's makers included, and npm forwards it once more.
  process.kill(-(running.child.pid ?? 0), signal)
  const ended = await running.ended
  expect(ended.code).toBe(code)
  expect(ended.stderr).toContain('cleaning up')
  expect(ended.stdout).not.toContain('claims held')
  expect(await remains(ended)).toEqual([])
})

test('the demo cleans up when nobody reads along any more', async () => {
  const piped = project.start(['sh', '-c', 'npm run --silent demo | head -n 8'], env)
  const ended = await piped.ended
  expect(ended.stdout.split('\n')).toHaveLength(9)
  expect(await remains(ended)).toEqual([])
})

test('a claim that does not hold is named, and the exit code is 1', async () => {
  const ended = await evaluate(env, [
    "import { openStage } from './src/dev/demo/stage.ts'",
    'const stage = await openStage(new AbortController())',
    'await stage.sync()',
    'const [first, second] = stage.clerk.users.all()',
    "stage.clerk.users.update(first.id, { last_name: 'Changed-Meanwhile' })",
    'stage.clerk.users.signIn(second.id)',
    'stage.clerk.users.create()',
    'await stage.checkTable()',
    "stage.check('the moon is round', true)",
    'process.exitCode = stage.conclude()',
    'await stage.close()',
  ])
  expect(ended).toMatchObject({ code: 1, stderr: '' })
  expect(ended.stdout).toContain('1 of 2 claims did not hold:\n   ✗ the table equals Clerk: 3,217 rows')
  expect(ended.stdout).toContain('3 differ')
  expect(await remains(ended)).toEqual([])
})

test("the tests' own setup hides every real database and key from what follows", async () => {
  const more = {
    TEST_DATABASE_URL: inject('postgresUrl'),
    PGHOST: 'localhost',
    CLERK_WEBHOOK_SIGNING_SECRET: 'x',
  }
  const ended = await evaluate({ ...env, ...more }, [
    "const { default: setup } = await import('./test/support/global-setup.ts')",
    'const stop = await setup({ provide() {} })',
    'console.log(JSON.stringify(Object.keys(process.env)))',
    'await stop()',
  ])
  expect(ended).toMatchObject({ code: 0, stderr: '' })
  const names: string[] = JSON.parse(ended.stdout)
  expect(names).toContain('TMPDIR')
  expect(names.filter((name) => /^(DATABASE_URL|CLERK_|PG)/.test(name))).toEqual([])
  expect(trap.connections()).toBe(0)
})

function evaluate(env: Environment, lines: readonly string[]): Promise<Ended> {
  const flags = ['--import', 'tsx', '--input-type=module', '--eval', lines.join('\n')]
  return project.start([process.execPath, ...flags], env).ended
}
