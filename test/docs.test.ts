// What README, docs/, CHANGELOG and Dockerfile say, held against what is true: the code, the commands, a real Postgres.
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { variables } from '../src/config/config.ts'
import { readCatalog } from '../src/db/catalog.ts'
import { openDatabase } from '../src/db/database.ts'
import { migrate } from '../src/db/migrate.ts'
import { readRuns } from '../src/db/runs.ts'
import { seedUsers } from '../src/dev/sandbox/seed.ts'
import { exitCodes } from '../src/sync/report.ts'
import { deliverDeletion } from '../src/sync/webhook.ts'
import { faults } from './mutation/faults.ts'
import { mutants } from './simulation/mutants.ts'
import { createTestDatabase } from './support/database.ts'
import { createWorld, type World } from './support/world.ts'

const root = resolve(import.meta.dirname, '..')
const read = (file: string) => readFileSync(resolve(root, file), 'utf8')
const readme = read('README.md')
const contributing = read('CONTRIBUTING.md')
const adopting = read('docs/adopting-a-table.md')
const architecture = read('docs/architecture.md')
const configuration = read('docs/configuration.md')
const operations = read('docs/operations.md')
const webhook = read('docs/webhook.md')
const manifest = JSON.parse(read('package.json')) as { version: string; scripts: Record<string, string> }

/** The cells of the document's table under this heading, row by row, code marks included. */
function table(document: string, firstHeading: string): string[][] {
  const [, after = ''] = document.split(`| ${firstHeading} |`)
  const lines = after.split('\n').slice(2)
  const end = lines.findIndex((line) => !line.startsWith('|'))
  return lines.slice(0, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

/** The document's block of code that begins with this text. */
function block(document: string, language: string, start = ''): string {
  const blocks = [...document.matchAll(/^```(\w*)\n(.*?)^```$/gms)]
  const found = blocks.find(([, name, text]) => name === language && text?.startsWith(start))
  if (found?.[2] === undefined) throw new Error(`there is no ${language} block with ${start}`)
  return found[2]
}

const inCode = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code)

describe('README and docs/', () => {
  it('gives both commands within the first ten lines', () => {
    const top = readme.split('\n').slice(0, 10).join('\n')
    expect(top).toContain('npm install && npm run demo')
    expect(top).toContain('npm install && npm test')
  })

  it('starts a newcomer within 200 lines', () => {
    expect(readme.trimEnd().split('\n').length).toBeLessThanOrEqual(200)
  })

  it('is right that the head of the plan lists what it decides', () => {
    const [, file = ''] = /listed at the top of `([^`]+)`/.exec(architecture.replace(/\s+/g, ' ')) ?? []
    const [head = ''] = read(file).split('\nimport ')
    expect(head).toMatch(/\| plan\n/)
    expect(head.split('\n').filter((line) => line.startsWith('//   the user'))).not.toEqual([])
  })

  it('shows every variable with its default and meaning, in the order of the code', () => {
    const expected = variables.map(({ name, default: fallback, description }) => [
      `\`${name}\``,
      fallback === undefined ? '' : `\`${fallback}\``,
      description,
    ])
    expect(table(configuration, 'variable')).toEqual(expected)
  })

  it('names every script, and no script that there is not', () => {
    const text = readme + contributing
    const typedInText = /\bnpm (?:run (?:--silent )?([a-z][\w:]*)|(start|test)\b)/g
    const named = new Set([...text.matchAll(typedInText)].map(([, script, short]) => script ?? short))
    // `check` runs these; nobody types them.
    const typed = Object.keys(manifest.scripts).filter((name) => !name.startsWith('check:'))
    expect([...named].sort()).toEqual(typed.sort())
  })

  it('shows the flags that sync has, and no others', async () => {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--import', 'tsx', 'src/main.ts', 'sync', '--help'],
      { cwd: root, env: { PATH: process.env.PATH } },
    )
    const flags = [...stdout.matchAll(/^ {2}(--[a-z-]+(?: <\w+>)?)/gm)].map(([, flag]) => `\`${flag}\``)
    expect(table(readme, 'flag of `npm run sync --`').map(([flag]) => flag)).toEqual(flags)
  })

  it('pipes no --json through npm without --silent, since npm prints lines of its own', () => {
    const documents = [readme, contributing, adopting, architecture, configuration, operations, webhook]
    const commands = [...documents.join('\n').matchAll(/npm run [^`\n]*--json/g)].map(([command]) => command)
    expect(commands.length).toBeGreaterThan(1)
    for (const command of commands) expect(command).toMatch(/^npm run --silent /)
  })

  it('gives the worker of the tutorial a port that `next dev` leaves free, the same everywhere', () => {
    const [, section = ''] = webhook.split('## Webhooks on your own machine')
    const [, port] = /^ +PORT=(\d+)$/m.exec(section) ?? []
    const [, relayed] = /--forward-to http:\/\/127\.0\.0\.1:(\d+)\//.exec(section) ?? []
    expect(port).toMatch(/^\d+$/)
    expect(port).not.toBe('3000')
    expect(relayed).toBe(port)
  })

  it('claims no more faults than the lists have, of which no test finds the two that it speaks of', () => {
    const proof = read('docs/proof.md').replace(/\s+/g, ' ')
    const claimed = (script: string) =>
      Number(new RegExp(`\\*\\*\`npm run ${script}\`\\*\\* \\w+ more than (\\d+) `).exec(proof)?.[1])
    expect(mutants.length).toBeGreaterThan(claimed('mutate:simulation'))
    expect(faults.length).toBeGreaterThan(claimed('mutate:sql'))
    expect(faults.filter(({ equivalent }) => equivalent !== undefined)).toHaveLength(2)
  })

  it('shows every exit code', () => {
    const shown = table(readme, 'exit').flatMap(([codes = '']) => codes.split(', ').map(Number))
    expect(shown.sort()).toEqual([...Object.values(exitCodes), 130, 143].sort())
  })

  it('maps every room of src, and none that there is not', () => {
    const map = block(architecture, '', 'src/\n')
    const rooms = readdirSync(resolve(root, 'src'), { withFileTypes: true })
    for (const room of rooms) expect(map).toContain(room.isDirectory() ? `  ${room.name}/` : room.name)
    const named = [...map.matchAll(/[\w-]+(?:\.ts|\/)(?= |,|\)|$)/gm)].map(([name]) => name)
    for (const name of named) expect([name, isThere(name)]).toEqual([name, true])
  })
})

const isThere = (name: string) =>
  ['.', 'src', 'src/cli', 'src/dev'].some((room) => existsSync(resolve(root, room, name)))

describe('what the documents say of a run', () => {
  let world: World
  const role = `clerk_sync_docs_${randomBytes(4).toString('hex')}`

  beforeAll(async () => {
    world = await createWorld({ users: seedUsers({ count: 120, seed: 3 }) })
    await world.database.sql.unsafe(`create role ${role} login password 'docs'`)
  })
  afterAll(async () => {
    await world.database.sql.unsafe(`drop owned by ${role}; drop role ${role}`)
    await world.close()
  })

  it('shows a report with the fields that a report has', async () => {
    const { report } = await world.sync()
    expect(shapeOf(JSON.parse(block(operations, 'json')))).toEqual(shapeOf(report))
    const [, ...words] = /`status` \| (.+?) \|/.exec(operations)?.[0].split('|') ?? []
    expect(inCode(words.join())).toEqual([
      ...['succeeded', 'partial', 'withheld', 'refused', 'skipped', 'failed', 'aborted'],
    ])
  })

  it('lists the rights that suffice, and none that is not needed', async () => {
    expect((await world.sync()).report).toMatchObject({ status: 'succeeded', error: null })
    const grants = atomsOf(block(configuration, 'sql', 'grant'), role)
    for (const { grant } of grants) await world.database.sql.unsafe(grant)
    expect(await useEverything(world, role)).toBe('succeeded')
    const unneeded: string[] = []
    for (const { grant, revoke } of grants) {
      await world.database.sql.unsafe(revoke)
      if ((await useEverything(world, role)) === 'succeeded') unneeded.push(grant)
      await world.database.sql.unsafe(grant)
    }
    // Postgres itself gives this one to everybody, unless somebody has taken it away.
    expect(unneeded).toEqual([`grant usage on schema public to ${role}`])
    expect(await useEverything(world, role)).toBe('succeeded')
    const { report } = await world.sync({ databaseUrl: urlOf(world, role), pass: 'incremental' })
    expect(report).toMatchObject({ status: 'succeeded', error: null })
  })

  it('lists the columns that a tutorial table gets', async () => {
    const database = await createTestDatabase({ empty: true })
    onTestFinished(() => database.drop())
    await database.sql`create table users (id serial primary key, clerk_id text, name text, image_url text, plan text)`
    const before = await columnsOf(database.sql)
    const pool = openDatabase(database.url)
    await migrate(pool).finally(() => pool.close())
    const added = (await columnsOf(database.sql)).filter(
      ({ name }) => !before.some((each) => each.name === name),
    )
    const shown = table(adopting, 'column added to `users`').map(([name = '', type = '']) => ({
      name: inCode(name)[0],
      type: inCode(type)[0],
      hint: type.split(', ')[1],
    }))
    expect(shown).toEqual(
      added.map(({ name, type, nullable, fallback }) => ({
        name,
        type: type === 'timestamp(3) with time zone' ? 'timestamptz(3)' : type,
        hint: nullable ? 'null allowed' : `default \`${fallback}\``,
      })),
    )
  })
})

/** The names and types of all fields, nested ones too. */
function shapeOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return Array.isArray(value) ? 'list' : value === null ? 'null' : typeof value
  }
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, shapeOf(each)]))
}

/** Each single right, one privilege on one column or object. */
function atomsOf(sql: string, role: string): { grant: string; revoke: string }[] {
  return sql
    .trim()
    .split(';\n')
    .flatMap((statement) => {
      const [, privileges = '', targets = ''] = /^grant (.+) on (.+) to \w+;?$/.exec(statement) ?? []
      const kind = targets.startsWith('schema ') ? 'schema ' : ''
      const objects = targets.slice(kind.length).split(', ')
      const columns = /^(\w+) \((.+)\)$/.exec(privileges)
      const rights =
        columns === null
          ? privileges.split(', ')
          : (columns[2] ?? '').split(', ').map((name) => `${columns[1]} (${name})`)
      return rights.flatMap((right) =>
        objects.map((object) => ({
          grant: `grant ${right} on ${kind}${object} to ${role}`,
          revoke: `revoke ${right} on ${kind}${object} from ${role}`,
        })),
      )
    })
}

const urlOf = (world: World, role: string) =>
  Object.assign(new URL(world.database.url), { username: role, password: 'docs' }).href

/** A run with every kind of write, a webhook's deletion and a look at the history, all with this role. */
async function useEverything(world: World, role: string): Promise<string> {
  const { users } = world.sandbox
  // Users whose rows an earlier run was refused to write would count as created.
  const rows = await world.rows()
  const ids = users
    .all()
    .map((user) => user.id)
    .filter((id) => rows.has(id))
  // Those at the front have not changed for long, so that they may be deleted.
  users.delete(ids[0] ?? '')
  users.update(ids.at(-1) ?? '', { first_name: randomBytes(4).toString('hex') })
  users.signIn(ids.at(-2) ?? '')
  const { id } = users.create()
  // A row whose age nothing tells.
  await world.database.sql`insert into users (clerk_id, name, image_url, created_at)
    values ('user_ageless', '', '', 'infinity') on conflict do nothing`
  // So that the run binds the table too.
  await world.database.sql`delete from clerk_sync.state`
  const databaseUrl = urlOf(world, role)
  const { report } = await world.sync({ databaseUrl, approveDeletes: 1000, graceMs: 0 })
  // A run that may not write its own end would keep the lease for 30 seconds.
  await world.database.sql`update clerk_sync.runs set status = 'abandoned' where status = 'running'`
  if (report.status !== 'succeeded') return report.status
  // More than one where runs before this one have failed.
  const kinds = ['created', 'updated', 'refreshed', 'deleted'] as const
  expect(kinds.filter((kind) => report.counts[kind] === 0)).toEqual([])
  const database = openDatabase(databaseUrl)
  try {
    const catalog = await readCatalog(database.db)
    expect(await readRuns(database.db, 1, catalog)).toHaveLength(1)
    users.delete(id)
    await deliverDeletion(database, id, 'sync')
    expect((await world.rows()).has(id)).toBe(false)
    return 'succeeded'
  } catch (error) {
    return String(error)
  } finally {
    await database.close()
  }
}

async function columnsOf(sql: World['database']['sql']) {
  return sql<{ name: string; type: string; nullable: boolean; fallback: string | null }[]>`
    select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, not a.attnotnull as nullable,
      pg_get_expr(d.adbin, d.adrelid) as fallback
    from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = 'users'::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum`
}

describe('the manifest for Kubernetes', () => {
  const [secret, cronJob] = parseAllDocuments(block(operations, 'yaml')).map((document) => document.toJS())
  const job = cronJob.spec.jobTemplate.spec
  const pod = job.template.spec
  const [container] = pod.containers

  it('runs the image that is built and pushed, of the version that package.json has', () => {
    const [build = '', push = ''] = block(operations, 'sh', 'docker build').trim().split('\n')
    expect(container.image).toMatch(new RegExp(`^[\\w.]+/clerk-sync:${manifest.version}$`))
    expect(build).toBe(`docker build -t ${container.image} .`)
    expect(push).toBe(`docker push ${container.image}`)
  })

  it('passes the Pod Security Standard `restricted`', () => {
    expect(pod.securityContext).toMatchObject({
      runAsNonRoot: true,
      seccompProfile: { type: 'RuntimeDefault' },
    })
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
    const { runAsUser, runAsGroup } = pod.securityContext
    expect(read('Dockerfile')).toContain(`USER ${runAsUser}:${runAsGroup}\n`)
    for (const open of ['hostNetwork', 'hostPID', 'hostIPC', 'volumes']) expect(pod).not.toHaveProperty(open)
  })

  it('has limits, a deadline, and a failure policy that the API accepts', () => {
    expect(container.resources).toEqual({
      requests: { cpu: expect.any(String), memory: expect.any(String) },
      limits: { memory: expect.any(String) },
    })
    expect(job.activeDeadlineSeconds).toBeGreaterThan(0)
    // The policy wants it.
    expect(pod.restartPolicy).toBe('Never')
    const [byCode, byCondition] = job.podFailurePolicy.rules
    expect(byCondition.onPodConditions).toEqual([{ type: 'DisruptionTarget', status: 'True' }])
    const { failed, tryAgainLater } = exitCodes
    const { values } = byCode.onExitCodes
    expect(Object.values(exitCodes)).toEqual(expect.arrayContaining(values))
    for (const again of [0, failed, tryAgainLater]) expect(values).not.toContain(again)
  })

  it('takes its settings from the Secret that is shown, all of them variables that there are', () => {
    expect(container.envFrom).toEqual([{ secretRef: { name: secret.metadata.name } }])
    const names = variables.map(({ name }) => name)
    expect(names).toEqual(expect.arrayContaining(Object.keys(secret.stringData)))
  })
})

describe('the other documents', () => {
  it('tell of the version that package.json has', () => {
    expect(/^## \[(\d+\.\d+\.\d+)\]/m.exec(read('CHANGELOG.md'))?.[1]).toBe(manifest.version)
  })

  it('build the image on the Node that .nvmrc names, from files that are there and let in', () => {
    const dockerfile = read('Dockerfile')
    const images = [...dockerfile.matchAll(/^FROM node:(\d+)-slim/gm)].map(([, major]) => major)
    expect(new Set(images)).toEqual(new Set([read('.nvmrc').trim()]))
    const letIn = read('.dockerignore').split('\n')
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, files = '']) =>
      files.split(' '),
    )
    for (const file of copied) {
      expect([file, existsSync(resolve(root, file)), letIn.includes(`!${file}`)]).toEqual([file, true, true])
    }
  })
})
