// Debian's PostgreSQL 15, the oldest that README promises, where it is installed. The rule: it lives as the embedded one
// does, in the same place with the same settings, so that the version alone makes the difference.
import { randomBytes } from 'node:crypto'
import { chown, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../src/dev/embedded-postgres/cluster.ts'
import { clusterOf, prepareHome, runAs } from '../../src/dev/embedded-postgres/home.ts'
import { postgres15Folder } from './environments.ts'

/** Starts it on a free port. Whoever ends it goes by postmaster.pid. */
export async function openPostgres15(options: {
  directory: string
  settings: Readonly<Record<string, string>>
}): Promise<{ url: string; directory: string; release: () => Promise<void> }> {
  const home = await prepareHome(options.directory, () => {})
  const cluster = clusterOf(home.path)
  await mkdir(cluster, { mode: 0o700 })
  const password = randomBytes(24).toString('base64url')
  const passwordPath = join(cluster, 'password')
  await writeFile(passwordPath, password, { mode: 0o600 })
  if (home.account !== undefined) {
    for (const path of [cluster, passwordPath]) await chown(path, home.account.uid, home.account.gid)
  }
  const run = async (program: string, args: string[]) => {
    const { code, output } = await runAs(home.account, join(postgres15Folder, program), args)
    if (code !== 0) throw new Error(`${program} of PostgreSQL 15 failed: ${output}`)
  }
  const data = `--pgdata=${join(cluster, 'data')}`
  await run('initdb', [
    ...[data, '--username=postgres', `--pwfile=${passwordPath}`, '--auth=scram-sha-256', '--no-sync'],
    // The order of text that the embedded one has; 15 has it from the system's library.
    ...['--encoding=UTF8', '--locale=C.UTF-8'],
  ])
  const port = await freePort()
  const flags = Object.entries({
    ...options.settings,
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
  }).map(([name, value]) => `-c '${name}=${value}'`)
  const log = `--log=${join(cluster, 'postgres.log')}`
  await run('pg_ctl', ['start', '--wait', data, log, `--options=${flags.join(' ')}`])
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    directory: home.path,
    release: async () => {},
  }
}
