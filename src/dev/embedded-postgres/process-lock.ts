// One process at a time, on one machine, without a daemon and without a dependency. The lock is a symbolic link whose
// target names its holder, since making one is atomic together with what it says. The rule: only its holder removes a
// lock, and after a crash only the holder of that dead lock's own lock does, so that nobody removes a living one.
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readlink, symlink, unlink } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { SyncError } from '../../errors.ts'
import { ownPlace, whereIs } from './place.ts'

/** Longer than a first start on a slow machine takes, crash recovery included. */
const waitMsMax = 180_000
const pollMs = 20

/**
 * Runs `run` while no other process (and no other call) holds the lock at `path`. A holder that died is replaced.
 * Throws `transient` if a living one keeps it for 3 minutes.
 */
export async function withProcessLock<T>(path: string, run: () => Promise<T>): Promise<T> {
  await acquire(path, Date.now() + waitMsMax)
  try {
    return await run()
  } finally {
    await unlink(path)
  }
}

async function acquire(path: string, deadline: number): Promise<void> {
  const own = [process.pid, startOf(process.pid), ownPlace(), randomBytes(6).toString('hex')].join(':')
  for (;;) {
    try {
      await symlink(own, path)
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const holder = await holderOf(path)
    if (holder !== undefined && !isAlive(holder)) {
      await removeDead(path, holder)
    } else if (Date.now() > deadline) {
      throw new SyncError('transient', 'another command keeps the embedded Postgres locked', {
        hint: `Wait for it to end. If no other command runs, neither here nor in a container that shares this folder, remove ${path}`,
        facts: { holder: holder ?? '' },
      })
    } else {
      await sleep(pollMs)
    }
  }
}

// Two that find the same dead holder: without a lock the slower one would remove the lock that the faster one has taken.
async function removeDead(path: string, holder: string): Promise<void> {
  const nonce = holder.slice(holder.lastIndexOf(':') + 1)
  await withProcessLock(`${path}.${nonce}`, async () => {
    if ((await holderOf(path)) === holder) await unlink(path)
  })
}

async function holderOf(path: string): Promise<string | undefined> {
  try {
    return await readlink(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function isAlive(holder: string): boolean {
  const fields = holder.split(':')
  const [pid = '', start = ''] = fields
  const where = whereIs(fields.length === 4 ? (fields[2] ?? '') : ownPlace())
  // Of one in another container nothing is known: it is waited for.
  if (where !== 'here') return where === 'elsewhere'
  if (!isProcessAlive(Number(pid))) return false
  // Process ids are used again, in a fresh container almost certainly: the same id started later is another process.
  const startNow = startOf(Number(pid))
  return start === '' || startNow === '' || start === startNow
}

/** True if a process has this id, whoever owns it. */
export function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** When the process started, in ticks since boot; empty where there is no /proc (macOS). */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Field 22; the second one, the name in brackets, may itself hold spaces and brackets.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}
