// An answer before it goes over the wire, and the one place that writes it: right answers and broken ones leave by the
// same door, byte by byte as the fault wants them.
import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'

/** How the bytes leave: all, a few at a time, cut off, never finished, never begun, or the connection is torn down first. */
type Wire = 'whole' | 'trickle' | 'truncated' | 'slow-body' | 'hang' | 'reset'

/** An answer. `value` is sent as JSON unless `text` says otherwise. */
export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly value: unknown
  readonly text?: string
  readonly wire?: Wire
  /** Of a body that trickles. */
  readonly bytesPerSecond?: number
}

/** Exactly this, without a charset: some clients take anything else for text. */
const jsonType = 'application/json'

/** The value as JSON. */
export function jsonReply(value: unknown, status = 200, headers: Record<string, string> = {}): Reply {
  return { status, value, headers: { 'content-type': jsonType, ...headers } }
}

/** Clerk's error body with one error. */
export function errorReply(
  status: number,
  code: string,
  message: string,
  details: { longMessage?: string; meta?: Record<string, unknown>; headers?: Record<string, string> } = {},
): Reply {
  const error = { message, long_message: details.longMessage ?? message, code }
  const errors = [details.meta === undefined ? error : { ...error, meta: details.meta }]
  return jsonReply({ errors, clerk_trace_id: randomBytes(16).toString('hex') }, status, details.headers)
}

/** A page of HTML, as a proxy in between would send it. */
export function htmlReply(status: number, title: string): Reply {
  const text = `<!DOCTYPE html>\n<html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>\n`
  return { status, value: undefined, text, headers: { 'content-type': 'text/html; charset=utf-8' } }
}

/** Sends the reply; a hanging one stays open until the server closes its connections. */
export function sendReply(outgoing: ServerResponse, reply: Reply, date: string | undefined): void {
  if (outgoing.destroyed || reply.wire === 'hang') return
  if (reply.wire === 'reset') {
    outgoing.socket?.resetAndDestroy()
    return
  }
  const body = Buffer.from(reply.text ?? JSON.stringify(reply.value))
  // Node stamps answers with the machine's time; ours carry Clerk's.
  outgoing.sendDate = false
  const dated = date === undefined ? {} : { date }
  outgoing.writeHead(reply.status, { ...reply.headers, ...dated, 'content-length': String(body.length) })
  const half = body.subarray(0, Math.floor(body.length / 2))
  if (reply.wire === 'trickle') trickle(outgoing, body, reply.bytesPerSecond ?? 100)
  else if (reply.wire === 'slow-body') outgoing.write(half)
  else if (reply.wire === 'truncated') outgoing.write(half, () => outgoing.destroy())
  else outgoing.end(body)
}

/** Small parts in short distances, so that at no time nothing arrives. */
const trickleMs = 20

function trickle(outgoing: ServerResponse, body: Buffer, bytesPerSecond: number): void {
  const step = Math.max(1, Math.round((bytesPerSecond * trickleMs) / 1000))
  let sent = 0
  const timer = setInterval(() => {
    outgoing.write(body.subarray(sent, sent + step))
    sent += step
    if (sent < body.length) return
    clearInterval(timer)
    outgoing.end()
  }, trickleMs)
  outgoing.once('close', () => clearInterval(timer))
}
