// The wire: encrypted wherever the server offers it, and a word on why not where that keeps the tool out.
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { sql } from 'drizzle-orm'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readDatabaseUrl } from '../../src/config/database-url.ts'
import { openDatabase, query } from '../../src/db/database.ts'
import type { SyncError } from '../../src/errors.ts'
import { type Server, startServer } from '../support/server.ts'

/** Key and certificate of `db.example.com`, which nobody has signed; for a hundred years. */
const certificate = resolve(import.meta.dirname, '../support/self-signed.pem')

let server: Server
let admin: postgres.Sql
/** DATABASE_URL of a login whose way in the tests decide. */
let url: string

beforeAll(async () => {
  server = await startServer()
  admin = postgres(server.url, { max: 1, onnotice: () => {} })
  await admin`create role app login password 'pw'`
  url = Object.assign(new URL(server.url), { username: 'app', password: 'pw' }).href
})
afterAll(async () => {
  await admin.end()
  await server.stop()
})

/** Writes a file of the data directory, where the server's programs run, as the user that it runs as. */
const write = (name: string, text: string) =>
  admin.unsafe(
    `copy (select unnest(string_to_array($text$${text}$text$, E'\n'))) to program 'umask 077; cat >${name}'`,
  )

/** Lets the login in by this line of pg_hba.conf alone, with or without encryption. */
async function configure(options: { hba: string; encryption: boolean }): Promise<void> {
  const [before] = await admin`select pg_conf_load_time() as at`
  await write('pg_hba.conf', `host all postgres 127.0.0.1/32 scram-sha-256\n${options.hba}`)
  await write('server.pem', readFileSync(certificate, 'utf8'))
  for (const setting of ['ssl_cert_file', 'ssl_key_file']) {
    await admin.unsafe(`alter system set ${setting} = 'server.pem'`)
  }
  await admin.unsafe(`alter system set ssl = ${options.encryption ? 'on' : 'off'}`)
  await admin`select pg_reload_conf()`
  for (;;) {
    const look = postgres(server.url, { max: 1, ssl: 'prefer', fetch_types: false })
    const [row] = await look`select pg_conf_load_time() > ${before?.at} as reloaded`
    await look.end()
    if (row?.reloaded) return
  }
}

/** Whether a connection to that DATABASE_URL is encrypted, or why there is none. */
async function isEncrypted(parameters = ''): Promise<boolean | SyncError> {
  const read = readDatabaseUrl(`${url}${parameters}`, import.meta.dirname)
  if (!('address' in read)) throw new Error(read.problem)
  const database = openDatabase(read.address.url, { connections: 1, driver: read.address.options })
  try {
    const [row] = await query<{ ssl: boolean }>(
      database.db,
      sql`select ssl from pg_stat_ssl where pid = pg_backend_pid()`,
    )
    return row?.ssl === true
  } catch (error) {
    return error as SyncError
  } finally {
    await database.close(0)
  }
}

const anyone = 'host all app 127.0.0.1/32 scram-sha-256'

describe('a server that offers encryption', () => {
  beforeAll(() => configure({ hba: anyone, encryption: true }))

  test.each([
    ['', true],
    ['?sslmode=prefer', true],
    ['?sslmode=require', true],
    ['?sslmode=disable', false],
  ])('is spoken to as DATABASE_URL asks: %j', async (parameters, encrypted) => {
    expect(await isEncrypted(parameters)).toBe(encrypted)
  })

  test.each(['?ssl=true', '?sslmode=verify-full'])(
    'and whose certificate nobody has signed says so: %s',
    async (parameters) => {
      expect(await isEncrypted(parameters)).toMatchObject({
        kind: 'configuration',
        message: 'the certificate of Postgres does not pass the check',
        hint: expect.stringContaining('sslrootcert'),
        facts: { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
      })
    },
  )

  test('and whose certificate is of another name says so, unless the name is not asked for', async () => {
    const root = `&sslrootcert=${encodeURIComponent(certificate)}`
    expect(await isEncrypted(`?sslmode=verify-full${root}`)).toMatchObject({
      kind: 'configuration',
      hint: expect.stringContaining('another host name'),
      facts: { code: 'ERR_TLS_CERT_ALTNAME_INVALID' },
    })
    expect(await isEncrypted(`?sslmode=verify-ca${root}`)).toBe(true)
  })
})

test('a server that insists on encryption says so to who comes without', async () => {
  await configure({ hba: anyone.replace('host', 'hostssl'), encryption: true })
  expect(await isEncrypted()).toBe(true)
  expect(await isEncrypted('?sslmode=disable')).toMatchObject({
    kind: 'configuration',
    message: 'Postgres takes no connection without encryption here',
    hint: expect.stringContaining('sslmode=require'),
    facts: { code: '28000' },
  })
})

test('a server that takes no encryption from this address says so to who comes with it', async () => {
  await configure({ hba: anyone.replace('host', 'hostnossl'), encryption: true })
  expect(await isEncrypted()).toMatchObject({
    kind: 'configuration',
    message: 'Postgres lets nobody in from this address for this user and database',
    hint: expect.stringContaining('sslmode=disable'),
  })
  expect(await isEncrypted('?sslmode=disable')).toBe(false)
})

test('a server without encryption is spoken to as ever, unless DATABASE_URL insists', async () => {
  await configure({ hba: anyone, encryption: false })
  expect(await isEncrypted()).toBe(false)
  expect(await isEncrypted('?sslmode=require')).toMatchObject({
    kind: 'configuration',
    message: 'DATABASE_URL asks for encryption, and the server offers none',
  })
})
