// `npm run dev:webhook`: a tunnel from the static ngrok domain to the local port, so that Clerk's webhooks reach this
// machine, until Ctrl+C. It says what to enter where; the worker runs beside it (`npm run dev:all`).
import { setTimeout as delay } from 'node:timers/promises'
import type { Listener } from '@ngrok/ngrok'
import { outliveReaders } from '../cli/output.ts'
import { loadTunnel } from '../config/config.ts'
import { isSyncError, SyncError } from '../errors.ts'
import { exitCodeOfError, exitCodes } from '../sync/report.ts'
import { openTunnel, TunnelFailure } from './ngrok.ts'

/** ngrok is told of the end; without a network it cannot be. */
const closeMsMax = 2000
/** The first answer of a program that compiles its pages when they are asked for. */
const lookMsMax = 3000

let listener: Listener | undefined
let isEnding = false
let isInterrupted = false

// Before ngrok is asked: it may take long, and nothing else would end this process.
process.on('SIGINT', () => void end()).on('SIGTERM', () => void end())

outliveReaders()
try {
  const { authtoken, domain, port, warnings } = loadTunnel()
  for (const warning of warnings) process.stderr.write(`${warning}\n`)
  await refuseForeignPort(port)
  listener = await openTunnel({ authtoken, domain, port, onStatus: sayStatus })
  if (!isEnding) process.stdout.write(instructions(domain, port))
  // ngrok's native code does not keep the process alive.
  setInterval(() => {}, 2 ** 30)
} catch (error) {
  if (!isEnding) process.exit(say(error))
}

/**
 * The worker may not be up yet, but another program on its port would be handed to the whole world: `next dev`, as a rule,
 * which takes port 3000 too.
 */
async function refuseForeignPort(port: number): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(lookMsMax) })
    .then((response) => response.text())
    .catch((error) => (error instanceof Error && error.name === 'TimeoutError' ? 'silence' : undefined))
  if (answer === undefined || /^\{"status":"\w+"/.test(answer)) return
  throw new SyncError(
    'configuration',
    `port ${port} of this machine is another program's, not the worker's`,
    {
      hint: 'Set PORT to a free one in .env.local, such as PORT=3100; the worker and the tunnel both take it from there.',
    },
  )
}

async function end(): Promise<void> {
  if (isEnding) return
  isEnding = true
  await Promise.race([listener?.close().catch(() => {}), delay(closeMsMax)])
  process.exit(exitCodes.succeeded)
}

/** Of an open tunnel only: before, the outcome says it. */
function sayStatus(status: string): void {
  const isLost = status === 'closed'
  if (listener === undefined || isEnding || isLost === isInterrupted) return
  isInterrupted = isLost
  process.stderr.write(
    isLost ? 'The tunnel is interrupted; ngrok tries again.\n' : 'The tunnel is open again.\n',
  )
}

/** Says why there is no tunnel. Gives the exit code. */
function say(error: unknown): number {
  if (!isSyncError(error) && !(error instanceof TunnelFailure)) throw error
  process.stderr.write(`error: ${error.message}\n${error.hint}\n`)
  return error instanceof TunnelFailure ? error.exitCode : exitCodeOfError(error)
}

function instructions(domain: string, port: number): string {
  return `
The tunnel is open: https://${domain} leads to port ${port} of this machine.

In Clerk's dashboard (Configure, Webhooks: https://dashboard.clerk.com/last-active?path=webhooks) add an endpoint:

  Endpoint URL         https://${domain}/api/users/webhook
  Subscribe to events  user.created, user.updated, user.deleted

Its Signing Secret goes into .env.local; then start the worker again:

  CLERK_WEBHOOK_SIGNING_SECRET=whsec_...

Ctrl+C closes the tunnel.
`
}
