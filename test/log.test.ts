// What a log line may hold. The rule of log.ts is tested from the outside: whatever is thrown or logged, the written
// bytes hold no address and no name.
import { spawnSync } from 'node:child_process'
import { DrizzleQueryError } from 'drizzle-orm'
import postgres from 'postgres'
import { describe, expect, it } from 'vitest'
import { SyncError } from '../src/errors.ts'
import { describeError, logTo } from '../src/log.ts'

const address = 'ada@example.com'

function lines(write: (log: ReturnType<typeof logTo>) => void, level = 'trace') {
  const written: string[] = []
  write(logTo({ write: (line: string) => void written.push(line) }, level))
  return { text: written.join(''), lines: written.map((line) => JSON.parse(line) as Record<string, unknown>) }
}

/** As the driver throws it for a duplicate address, as drizzle wraps it. */
function failedQuery() {
  const refused = Object.assign(
    Reflect.construct(postgres.PostgresError, [{ message: 'duplicate key' }]) as Error,
    {
      code: '23505',
      detail: `Key (email)=(${address}) already exists.`,
      constraint_name: 'users_email_key',
      table_name: 'users',
      column_name: 'a column, which is no identifier',
      parameters: [address],
      query: `insert into users values ('${address}')`,
    },
  )
  return new DrizzleQueryError(`insert into users (email) values ($1) -- ${address}`, [address], refused)
}

describe('an error', () => {
  it('of ours is told with kind, message, hint, facts, and of its causes the types and codes alone', () => {
    const error = new SyncError('constraint', 'the app refuses too many users', {
      hint: 'look at users_email_key',
      facts: { refused: 101 },
      cause: failedQuery(),
    })
    const {
      lines: [line],
      text,
    } = lines((log) => log.error({ err: error }, 'run failed'))
    expect(line).toEqual({
      level: 'error',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      msg: 'run failed',
      err: {
        type: 'SyncError',
        kind: 'constraint',
        message: 'the app refuses too many users',
        hint: 'look at users_email_key',
        facts: { refused: 101 },
        causes: [
          { type: 'DrizzleQueryError' },
          { type: 'PostgresError', code: '23505', constraint_name: 'users_email_key', table_name: 'users' },
        ],
      },
    })
    expect(text).not.toContain(address)
  })

  it('of the database leaves no parameter behind, however it is logged', () => {
    const error = failedQuery()
    const ways: ((log: ReturnType<typeof logTo>) => void)[] = [
      (log) => log.error(error),
      (log) => log.error(error, 'failed'),
      (log) => log.error({ err: error }),
      (log) => log.error({ err: error }, 'failed'),
      (log) => log.error({ error }, 'failed'),
      (log) => log.error({ anything: error.cause }, 'failed'),
      (log) => log.error({ failures: [error, error.cause] }, 'failed'),
      (log) => log.child({ err: error }).error('failed'),
      (log) => log.child({ other: 1 }).error(error),
    ]
    for (const way of ways) {
      const {
        text,
        lines: [line],
      } = lines(way)
      expect(text).not.toContain('ada@')
      expect(text).not.toContain('insert into')
      expect(line).toMatchObject({ msg: expect.stringMatching(/^(failed|error)$/) })
      expect(text).toContain('23505')
    }
  })

  it('of our own making keeps where it was thrown, not what it said', () => {
    function explode(): never {
      throw new TypeError(`cannot read ${address}\n    at ${address}`)
    }
    let described: Record<string, unknown> = {}
    try {
      explode()
    } catch (error) {
      described = describeError(error)
    }
    expect(described).toMatchObject({ type: 'TypeError', stack: expect.stringContaining('explode') })
    expect(JSON.stringify(described)).not.toContain('cannot read')
  })

  it('from the network is told by its code, also where several addresses were tried', () => {
    const attempt = Object.assign(new Error(`connect ECONNREFUSED for ${address}`), { code: 'ECONNREFUSED' })
    const fetchFailed = new TypeError('fetch failed', { cause: new AggregateError([attempt, attempt]) })
    expect(describeError(fetchFailed)).toMatchObject({
      type: 'TypeError',
      causes: [{ type: 'AggregateError' }, { type: 'Error', code: 'ECONNREFUSED' }],
    })
  })

  it('that is no error, or its own cause, is described too', () => {
    expect(describeError(address)).toEqual({ type: 'string' })
    expect(describeError(null)).toEqual({ type: 'object' })
    const loop = new Error('a')
    loop.cause = loop
    expect(describeError(loop).causes).toHaveLength(8)
  })
})

describe('a line', () => {
  it('hides what names a person or a secret, at the top, in objects and in lists', () => {
    const person = {
      email: address,
      name: 'Ada',
      password: 'p4ssw0rd',
      authorization: 'Bearer t0ken',
      databaseUrl: 'postgres://x',
    }
    const { text } = lines((log) =>
      log.info({ ...person, user: { ...person }, users: [{ ...person }] }, 'seen'),
    )
    for (const value of Object.values(person)) expect(text).not.toContain(value)
    expect(text.match(/\[Redacted\]/g)).toHaveLength(15)
  })

  it('keeps facts as fields', () => {
    const { lines: all } = lines((log) =>
      log.info({ runId: 12, clerkId: 'user_1', counts: { seen: 3 } }, 'run finished'),
    )
    expect(all).toMatchObject([
      { level: 'info', msg: 'run finished', runId: 12, clerkId: 'user_1', counts: { seen: 3 } },
    ])
  })

  it('is left out below the level, and at silent always', () => {
    expect(lines((log) => log.info('x'), 'warn').text).toBe('')
    expect(lines((log) => log.fatal('x'), 'silent').text).toBe('')
  })
})

describe('createLog', () => {
  /** Logs in a process of its own that is killed right after: nothing gets the time to flush. */
  function logged(pretty: boolean, before = '') {
    const script = `${before}
      const { createLog } = await import('./src/log.ts')
      const log = createLog({ level: 'info', destination: 'stdout', pretty: ${pretty} })
      for (let i = 0; i < 2000; i++) log.info({ i }, 'line')
      log.error({ err: Object.assign(new Error('${address}'), { code: '23505' }) }, 'failed')
      process.kill(process.pid, 'SIGKILL')`
    const root = new URL('..', import.meta.url)
    const argv = ['--import', 'tsx', '--input-type=module', '--eval', script]
    return spawnSync(process.execPath, argv, {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    }).stdout
  }

  it('has written every line when the call returns', () => {
    const all = logged(false)
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { i?: number })
    expect(all.map(({ i }) => i)).toEqual([...Array(2000).keys(), undefined])
  })

  it('writes readable lines without colour to a pipe', () => {
    const text = logged(true)
    expect(text).toMatch(/INFO.*: line\n {4}i: 1999\n/)
    expect(text).toContain('23505')
    expect(text).not.toContain(address)
    expect(text).not.toContain('\x1b')
  })

  it('writes JSON where pino-pretty is not installed', () => {
    const missing = `const { Module } = await import('node:module')
      const load = Module._load
      Module._load = (name, ...rest) => {
        if (name === 'pino-pretty') throw new Error('not installed')
        return load(name, ...rest)
      }`
    expect(JSON.parse(logged(true, missing).split('\n')[0] ?? '')).toMatchObject({ msg: 'line', i: 0 })
  })
})
