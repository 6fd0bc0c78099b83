// Production without a container, step by step as docs/operations.md prints it: built, packed, unpacked elsewhere by root,
// run by an account that owns nothing but its settings and its log. Only the places and the account's name are other ones here.
import { execFile, spawnSync } from 'node:child_process'
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, type TestContext, test } from 'vitest'
import { compiledClerkSync, linesOf, openShopForTest, type Shop } from './command.ts'

const repository = resolve(import.meta.dirname, '../..')
const isRoot = process.getuid?.() === 0
const hasPrograms = ['runuser', 'tar', 'install'].every((name) => spawnSync(name, ['--version']).status === 0)
const run = promisify(execFile)

/** A block of the section, as it is printed. */
async function printed(start: string): Promise<string> {
  const document = await readFile(join(repository, 'docs/operations.md'), 'utf8')
  const [, section = ''] = document.split('## Run it without a container')
  const blocks = [...section.matchAll(/^```\w+\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text)
  const found = blocks.find((text) => text.startsWith(start))
  if (found === undefined) throw new Error(`docs/operations.md prints no block that begins with ${start}`)
  return found
}

/** A machine's root folder, with the tool installed in it as the document says. */
async function openMachine(context: TestContext) {
  const root = await mkdtemp(join(tmpdir(), 'clerk-sync-machine-'))
  context.onTestFinished(() => rm(root, { recursive: true, force: true }))
  await chmod(root, 0o755)
  for (const folder of ['opt', 'var/log', 'checkout']) await mkdir(join(root, folder), { recursive: true })
  const here = (text: string) =>
    text
      .replaceAll(/\/(opt|var\/log)\/clerk-sync/g, `${root}/$1/clerk-sync`)
      .replaceAll(/(-o|-u) clerk-sync/g, '$1 nobody')
      .replaceAll(/^useradd .*$/gm, '')
  // Of a careful root: what it makes is closed to others unless the steps open it.
  const shell = async (text: string, folder = root, env: Record<string, string> = {}) => {
    const full = { ...(process.env as Record<string, string>), npm_config_cache: cache, ...env }
    return run('bash', ['-euc', `umask 077; ${here(text)}`], { cwd: folder, env: full })
  }
  const checkout = join(root, 'checkout')
  await build(checkout)
  const [, pack = ''] = (await printed('npm ci && npm run build')).split('\n')
  await shell(pack, checkout)
  await copyFile(join(checkout, 'clerk-sync.tgz'), join(root, 'clerk-sync.tgz'))
  const install = await printed('useradd')
  await shell(install, root, { npm_config_offline: 'true' }).catch((error: { stderr: string }) => {
    context.skip(/ENOTCACHED/.test(error.stderr), "npm's cache lacks the packages; `npm ci` fills it")
    throw error
  })
  return { root, here, shell, installed: join(root, 'opt/clerk-sync') }
}

const cache = spawnSync('npm', ['config', 'get', 'cache'], { encoding: 'utf8' }).stdout.trim()

/** What `npm run build` leaves in a checkout. */
async function build(checkout: string): Promise<void> {
  const main = (await compiledClerkSync()).at(-1) ?? ''
  await cp(dirname(main), join(checkout, 'dist'), { recursive: true })
  for (const name of ['drizzle', 'deploy', 'package.json', 'package-lock.json']) {
    await cp(join(repository, name), join(checkout, name), { recursive: true })
  }
}

const settingsOf = ({ env }: Shop) =>
  `NODE_ENV=production\n${Object.entries(env)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')}`

// Making accounts and running as another one is root's.
describe.runIf(isRoot && hasPrograms)('on a machine of its own', () => {
  test('it is installed as printed, and runs by hand, from cron and from systemd as an account without rights', async (context) => {
    const shop = await openShopForTest(context, { count: 12 })
    const { here, shell, installed, root } = await openMachine(context)
    const settings = join(installed, '.env')
    expect(
      Object.keys(Object.fromEntries(new URLSearchParams((await printed('NODE_ENV')).replaceAll('\n', '&')))),
    ).toEqual(expect.arrayContaining(['NODE_ENV', 'CLERK_SECRET_KEY', 'DATABASE_URL']))
    await writeFile(settings, settingsOf(shop))
    expect((await stat(settings)).mode & 0o777).toBe(0o600)

    const byHand = await shell(await printed('cd /opt'))
    expect(linesOf(byHand.stdout).filter(({ msg }) => msg === 'run finished')).toMatchObject([
      { report: { dryRun: true, counts: { created: 12 } } },
      { report: { dryRun: false, counts: { created: 12 } } },
    ])
    expect(await shop.rows()).toEqual(shop.wanted())

    // cron: an empty environment but for what the file sets, /bin/sh, the account's home.
    await shell(await printed('install -d -o'))
    const [, path = '', account, line = ''] =
      /^PATH=(.*)\n(?:\S+ ){5}(\S+) (.+)$/m.exec(await printed('PATH=')) ?? []
    expect(account).toBe('clerk-sync')
    const PATH = `${dirname(process.execPath)}:${path}`
    const asAccount = (command: string, cwd = '/') =>
      run('runuser', ['-u', 'nobody', '--', '/usr/bin/env', '-i', `PATH=${PATH}`, '/bin/sh', '-c', command], {
        cwd,
      })
    const user = shop.sandbox.users.create()
    await asAccount(here(line))
    await asAccount(here(line))
    expect((await shop.rows()).has(user.id)).toBe(true)
    const log = linesOf(await readFile(join(root, 'var/log/clerk-sync/sync.log'), 'utf8'))
    expect(log.filter(({ msg }) => msg === 'run finished')).toHaveLength(2)

    const unit = await readFile(join(installed, 'deploy/systemd/clerk-sync.service'), 'utf8')
    const said = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(unit)?.[1] ?? ''
    expect([said('User'), said('WorkingDirectory')]).toEqual(['clerk-sync', '/opt/clerk-sync'])
    const later = shop.sandbox.users.create()
    await asAccount(said('ExecStart'), here(said('WorkingDirectory')))
    expect((await shop.rows()).has(later.id)).toBe(true)
  })
})

test.runIf(spawnSync('systemd-analyze', ['--version']).status === 0)('systemd understands the units', () => {
  const units = ['service', 'timer'].map((kind) => join(repository, `deploy/systemd/clerk-sync.${kind}`))
  const { status, stderr } = spawnSync('systemd-analyze', ['verify', ...units], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})
