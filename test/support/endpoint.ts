// The webhook endpoint on a loopback port, served the way the worker serves it, and deliveries to post to it. Signatures
// are made here a second time from the published scheme, so that neither the sandbox nor the library judges itself.
import { createHmac, randomBytes } from 'node:crypto'
import { Agent, type OutgoingHttpHeaders, request } from 'node:http'
import type postgres from 'postgres'
import type { TableCatalog } from '../../src/db/catalog.ts'
import { type Database, openDatabase } from '../../src/db/database.ts'
import type { Delivery } from '../../src/dev/sandbox/sandbox.ts'
import { openWebhookServer } from '../../src/dev/testkit/webhook-server.ts'
import { logTo } from '../../src/log.ts'

/** The instance that `bind` binds a table to. */
export const instanceId = 'ins_2Hs7kqWvTnGxYbRm4LcPzDfJ1aE'
/** `whsec_` and 24 bytes in base64. */
export const signingSecret = `whsec_${Buffer.from('a secret only tests know').toString('base64')}`

export interface EndpointOptions {
  readonly databaseUrl: string
  /** `signingSecret` unless given; null: none is set. */
  readonly secret?: string | null
  readonly policy?: 'sync' | 'upsert-only'
  /** False: the worker has not found the table ready yet. */
  readonly ready?: boolean
  readonly connections?: number
  readonly answerMsMax?: number
}

export interface Answer {
  readonly status: number
  readonly headers: Record<string, string | string[] | undefined>
  readonly body: { result?: string; reason?: string } & Record<string, unknown>
}

export interface Endpoint {
  readonly port: number
  readonly database: Database
  readonly catalog: TableCatalog
  /** Everything logged so far, as it was written. */
  readonly log: string[]
  /** The lines of `log` with that message. */
  lines(message: string): Record<string, unknown>[]
  /** What the log holds and must not: of the people and secrets of this file, or any of `more`. */
  leaks(more?: Iterable<string>): string[]
  /** Posts a delivery, or anything else with what `over` says. */
  post(delivery: Delivery, over?: RequestParts): Promise<Answer>
  close(): Promise<void>
}

export interface RequestParts {
  method?: string
  path?: string
  headers?: OutgoingHttpHeaders
  body?: string | Buffer
  /** Sent without a content length, in pieces. */
  chunked?: boolean
  /** A connection of its own if absent. */
  agent?: Agent
}

/** Serves `createApp`. The caller closes it before it drops the database. */
export async function openEndpoint(options: EndpointOptions): Promise<Endpoint> {
  const database = openDatabase(options.databaseUrl, {
    ...(options.connections === undefined ? {} : { connections: options.connections }),
  })
  const log: string[] = []
  const { secret = signingSecret, ready = true } = options
  const server = await openWebhookServer({
    database,
    log: logTo({ write: (line: string) => void log.push(line) }, 'trace'),
    signingSecrets: secret === null ? [] : [secret].flat(),
    policy: options.policy ?? 'sync',
    isReady: ready,
    ...(options.answerMsMax === undefined ? {} : { answerMsMax: options.answerMsMax }),
  })
  const { port, catalog } = server
  const agent = new Agent({ keepAlive: true })
  return {
    port,
    database,
    catalog,
    log,
    lines: (message) =>
      log.map((line) => JSON.parse(line) as Record<string, unknown>).filter((line) => line.msg === message),
    leaks(more = []) {
      const text = log.join('')
      const never = [...forbidden, new URL(options.databaseUrl).password, secret ?? '', ...more]
      // A name of a few letters may be part of any word.
      return never.filter((each) => each.length >= 5 && text.includes(each))
    },
    post: (delivery, over = {}) =>
      send(port, {
        agent,
        ...over,
        headers: { ...delivery.headers, ...over.headers },
        body: over.body ?? delivery.body,
      }),
    async close() {
      agent.destroy()
      await server.close()
      await database.close(1)
    },
  }
}

/** One request. Rejects where there was no answer. */
export function send(port: number, deps: RequestParts): Promise<Answer> {
  const {
    method = 'POST',
    path = '/api/users/webhook',
    headers = {},
    body = '',
    chunked = false,
    agent,
  } = deps
  return new Promise((resolve, reject) => {
    const length = chunked ? {} : { 'content-length': Buffer.byteLength(body) }
    const outgoing = request(
      { host: '127.0.0.1', port, method, path, headers: { ...length, ...headers }, agent: agent ?? false },
      (incoming) => {
        const chunks: Buffer[] = []
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
        incoming.once('error', reject)
        incoming.once('end', () => {
          const text = Buffer.concat(chunks).toString()
          const { statusCode: status = 0, headers: answered } = incoming
          resolve({ status, headers: answered, body: isJson(answered) ? JSON.parse(text || '{}') : { text } })
        })
      },
    )
    outgoing.once('error', reject)
    if (!chunked) {
      outgoing.end(body)
      return
    }
    const bytes = Buffer.from(body)
    for (let start = 0; start < bytes.length; start += 16_384)
      outgoing.write(bytes.subarray(start, start + 16_384))
    outgoing.end()
  })
}

const isJson = (headers: Answer['headers']) => String(headers['content-type']).startsWith('application/json')

export interface SignOptions {
  id?: string
  secret?: string
  /** Real time unless given, in seconds. */
  seconds?: number
}

/** A delivery of any body, signed by the scheme that Svix publishes: HMAC-SHA256 over id, time and the raw body. */
export function sign(body: string | Buffer, options: SignOptions = {}): Delivery & { raw: Buffer } {
  const raw = Buffer.from(body)
  const { secret = signingSecret, seconds = Math.floor(Date.now() / 1000) } = options
  const id = options.id ?? `msg_${randomBytes(12).toString('hex')}`
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64')
  const mac = createHmac('sha256', key).update(id).update('.').update(`${seconds}`).update('.').update(raw)
  return {
    headers: {
      'content-type': 'application/json',
      'svix-id': id,
      'svix-timestamp': `${seconds}`,
      'svix-signature': `v1,${mac.digest('base64')}`,
    },
    body: raw.toString(),
    raw,
  }
}

/** The same for an event. */
export function signEvent(event: unknown, options: SignOptions = {}): Delivery & { raw: Buffer } {
  return sign(JSON.stringify(event), options)
}

/** Of `clerkUser` and of every address that a test uses. */
const forbidden = [
  '@example',
  'Lovelace',
  'private to the server',
  'img.clerk.com',
  'whsec_',
  'a secret only',
]

let people = 0

/** An id as Clerk makes them, of which no two are alike. */
export function newUserId(): string {
  return `user_2t${randomBytes(12).toString('hex').toUpperCase()}${(people++).toString(36)}`
}

/** The times of a user that no test says anything about. */
export const createdAt = Date.parse('2026-03-01T09:00:00.007Z')

/** A user as a delivery carries it, of a version that many ms after its creation. */
export function clerkUser(
  id: string,
  over: { version?: number; name?: string } & Record<string, unknown> = {},
) {
  const { version = 0, name = 'Ada', ...rest } = over
  const email = `${id.slice(-8).toLowerCase()}@example.com`
  return {
    id,
    object: 'user',
    username: null,
    first_name: name,
    last_name: 'Lovelace',
    image_url: 'https://img.clerk.com/eyJ0eXBlIjoiZGVmYXVsdCJ9',
    external_id: null,
    has_image: false,
    primary_email_address_id: 'idn_2t1',
    primary_phone_number_id: null,
    primary_web3_wallet_id: null,
    email_addresses: [{ id: 'idn_2t1', object: 'email_address', email_address: email, verification: null }],
    phone_numbers: [],
    web3_wallets: [],
    public_metadata: {},
    private_metadata: { note: 'private to the server' },
    unsafe_metadata: {},
    last_sign_in_at: null,
    banned: false,
    locked: false,
    created_at: createdAt,
    updated_at: createdAt + version,
    ...rest,
  }
}

/** An event's envelope as Clerk sends it today. */
export function clerkEvent(type: string, data: unknown, over: Record<string, unknown> = {}) {
  return {
    data,
    event_attributes: { http_request: { client_ip: '192.0.2.1', user_agent: 'clerk/clerk-sdk-go@v3.0.0' } },
    instance_id: instanceId,
    object: 'event',
    timestamp: createdAt + 17,
    type,
    ...over,
  }
}

/** A deletion's event. */
export const deletionOf = (id: string, over: Record<string, unknown> = {}) =>
  clerkEvent('user.deleted', { deleted: true, id, object: 'user' }, over)

/** Binds the table to `instanceId`, as the worker does at start. */
export async function bind(sql: postgres.Sql): Promise<void> {
  await sql`insert into clerk_sync.state (instance_id) values (${instanceId})`
}

/** Every row of every table of ours, with the transaction that wrote it: equal only if nothing was written. */
export async function everything(sql: postgres.Sql): Promise<unknown> {
  const tables = ['users', 'clerk_sync.tombstones', 'clerk_sync.runs', 'clerk_sync.state']
  const found: Record<string, unknown> = {}
  for (const table of tables) {
    const rows =
      await sql`select r.ctid::text, r.xmin::text, r.xmax::text, r::text from ${sql(table)} r order by 1`
    found[table] = [...rows]
  }
  return found
}

/** Where a user stands: its row's name, and whether there is a tombstone. */
export async function standing(sql: postgres.Sql, id: string) {
  const [row] = await sql<{ name: string | null; tombstone: boolean }[]>`
    select (select name from users where clerk_id = ${id}) as name,
      exists (select from clerk_sync.tombstones where clerk_id = ${id}) as tombstone`
  return row
}

/** Until so many sessions of this database wait for a lock. Throws after 1.5 seconds: no lock is waited for longer than 2. */
export async function blocked(sql: postgres.Sql, count: number): Promise<void> {
  const deadline = Date.now() + 1500
  for (;;) {
    const [waiting] = await sql<{ count: number }[]>`
      select count(*)::int from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`
    if (waiting?.count === count) return
    if (Date.now() > deadline) throw new Error(`${waiting?.count} sessions wait, not ${count}`)
  }
}
