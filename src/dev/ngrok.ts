// The way through ngrok: a tunnel from a static domain to a port of this machine, and what its refusals mean. The rule:
// ngrok's own messages are never shown, because one of them quotes the token.
import type { Listener } from '@ngrok/ngrok'
import { exitCodes } from '../sync/report.ts'

export interface TunnelOptions {
  readonly authtoken: string
  readonly domain: string
  /** Where the worker listens on this machine. */
  readonly port: number
  /** Told `closed` when the way is lost and `connected` when it is back; ngrok tries again by itself. */
  readonly onStatus?: (status: string) => void
  /** Where ngrok answers; its own if absent. */
  readonly serverAddress?: string | undefined
  readonly openMsMax?: number
}

/** Why there is no tunnel, in words of ours. */
export class TunnelFailure extends Error {
  override readonly name = 'TunnelFailure'
  readonly hint: string
  readonly exitCode: number

  constructor(message: string, hint: string, exitCode: number) {
    super(message)
    this.hint = hint
    this.exitCode = exitCode
  }
}

/** So long ngrok may take; without an answer there is none. */
const openMsDefault = 30_000

/** Opens the tunnel. Throws `TunnelFailure`. The caller closes the listener. */
export async function openTunnel(options: TunnelOptions): Promise<Listener> {
  let timer: NodeJS.Timeout | undefined
  const tooLong = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(unreachable()), options.openMsMax ?? openMsDefault)
  })
  try {
    const { default: ngrok } = await import('@ngrok/ngrok').catch(() => Promise.reject(unusable()))
    const opened = ngrok.forward({
      authtoken: options.authtoken,
      domain: options.domain,
      // Not `localhost`, which may be ::1, where the worker does not listen.
      addr: `127.0.0.1:${options.port}`,
      ...(options.onStatus === undefined ? {} : { onStatusChange: options.onStatus }),
      ...(options.serverAddress === undefined ? {} : { server_addr: options.serverAddress }),
    })
    return await Promise.race([opened, tooLong])
  } catch (error) {
    throw error instanceof TunnelFailure ? error : failureOf(error, options.domain)
  } finally {
    clearTimeout(timer)
  }
}

/** What ngrok's refusal means. Its code is at the end of a message that says far more. */
export function failureOf(error: unknown, domain: string): TunnelFailure {
  const code = /ERR_NGROK_\d+/.exec(error instanceof Error ? error.message : '')?.[0]
  if (code === undefined) return unreachable()
  const [message, hint] = wordsOf(code, domain)
  const page = `https://ngrok.com/docs/errors/${code.toLowerCase()}`
  return new TunnelFailure(`${message} (${code})`, `${hint}\n${page}`, exitCodes.failed)
}

function wordsOf(code: string, domain: string): [message: string, hint: string] {
  switch (code) {
    case 'ERR_NGROK_105':
    case 'ERR_NGROK_106':
    case 'ERR_NGROK_107':
      return [
        'ngrok does not accept the token',
        'Copy NGROK_AUTHTOKEN again: https://dashboard.ngrok.com/get-started/your-authtoken',
      ]
    case 'ERR_NGROK_108':
      return [
        'the ngrok account has no room for another agent',
        'Stop the other one: https://dashboard.ngrok.com/agents',
      ]
    case 'ERR_NGROK_334':
      return [
        `${domain} is already in use by another tunnel`,
        'Stop that one, on this machine or another: https://dashboard.ngrok.com/endpoints',
      ]
    case 'ERR_NGROK_319':
    case 'ERR_NGROK_320':
      return [
        `${domain} is not a domain of this ngrok account`,
        'Set NGROK_DOMAIN to one of yours: https://dashboard.ngrok.com/domains',
      ]
    default:
      return ['ngrok refuses the tunnel', 'Its page on the error says what to do:']
  }
}

const unreachable = () =>
  new TunnelFailure(
    'ngrok cannot be reached',
    'Check the network; ngrok needs connect.ngrok-agent.com on port 443. Then try again.',
    exitCodes.tryAgainLater,
  )

const unusable = () =>
  new TunnelFailure(
    '@ngrok/ngrok has no build for this machine, or it is not installed',
    'Run npm install. Without it, any other tunnel to the same port will do.',
    exitCodes.failed,
  )
