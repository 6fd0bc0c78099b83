// Where a process id means something. A number written down by one process says nothing to another in a container (another
// pid namespace), behind a virtual machine's shared folder, or after the next boot: there the same number is another
// process or none. The rule: an id from elsewhere is never looked up here.
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'

/** The parts of a place, without a colon or a blank in them. */
interface Place {
  readonly host: string
  readonly boot: string
  readonly namespace: string
}

/** This process's place as one word. */
export function ownPlace(): string {
  const { host, boot, namespace } = place()
  return [host, boot, namespace].join('/')
}

/**
 * Where something was written down, seen from here: `here`, so that ids can be looked up; `before` this machine's last
 * start, so that every process of then has ended; or `elsewhere`, of which nothing is known.
 */
export function whereIs(written: string): 'here' | 'before' | 'elsewhere' {
  const [host, boot, namespace] = written.split('/')
  const own = place()
  // A machine may take another name meanwhile, where the boot has one.
  if (boot === own.boot && namespace === own.namespace && (boot !== '' || host === own.host)) return 'here'
  return host === own.host && boot !== own.boot ? 'before' : 'elsewhere'
}

/** True if it was written under the kernel that runs here, whose locks are seen in all its containers. */
export function isSameKernel(written: string): boolean {
  const { boot } = place()
  return boot !== '' && written.split('/')[1] === boot
}

function place(): Place {
  return {
    // A Mac takes another name in each network. It has no namespaces, and the containers of its virtual machine are Linux.
    host: process.platform === 'linux' ? plain(hostname()) : process.platform,
    // Neither of the two exists outside Linux.
    boot: plain(tryRead(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'))),
    namespace: plain(tryRead(() => readlinkSync('/proc/self/ns/pid'))),
  }
}

function tryRead(read: () => string): string {
  try {
    return read()
  } catch {
    return ''
  }
}

const plain = (text: string) => text.replaceAll(/[^\w.-]/g, '')
