// The HTTP side of the worker: the webhook and the two questions an orchestrator asks. Anything else is 404.
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { Log } from '../log.ts'
import { WaitingDeliveries } from '../sync/waiting.ts'
import { answerWebhook, type WebhookDeps } from './webhook.ts'

/** Clerk's largest users are some tens of kilobytes. */
const bodyBytesMax = 1024 * 1024

/** The first is ours; the second is the one that Clerk's guides use, and so most apps. */
export const webhookPaths = ['/api/users/webhook', '/api/webhooks/clerk'] as const

export interface AppDeps extends WebhookDeps {
  readonly log: Log
  /** What is not ready, by name; empty when everything is. */
  readonly readiness: () => Promise<string[]>
}

export function createApp(deps: AppDeps): Hono {
  // A path is the same with a slash at its end.
  const app = new Hono({ strict: false })
  const waiting = new WaitingDeliveries()
  const tooLarge = bodyLimit({
    maxSize: bodyBytesMax,
    // The rest of the body stays unread on the connection, so a request that reused it would be cut off.
    onError: (context) =>
      context.json({ result: 'failed', reason: 'the body is over 1 MB' }, 413, { Connection: 'close' }),
  })
  for (const path of webhookPaths) {
    app.post(path, tooLarge, (context) => answerWebhook(context, deps, waiting))
    app.all(path, (context) =>
      context.json({ result: 'failed', reason: 'a webhook is a POST' }, 405, { Allow: 'POST' }),
    )
  }
  app.get('/healthz', (context) => context.json({ status: 'ok' }))
  app.get('/readyz', async (context) => {
    const missing = await deps.readiness()
    return missing.length === 0
      ? context.json({ status: 'ready' })
      : context.json({ status: 'not ready', missing }, 503)
  })
  app.notFound((context) => context.json({ result: 'failed', reason: 'there is nothing here' }, 404))
  app.onError((error, context) => {
    if (isBrokenOff(error, context.req.raw)) {
      deps.log.debug('a sender broke off')
      return context.body(null, 400)
    }
    deps.log.error({ err: error }, 'a request failed')
    return context.json({ result: 'failed', reason: 'the request could not be answered' }, 500)
  })
  return app
}

/** The client has closed the connection. Any client can do that, so it is no error of ours. */
function isBrokenOff(error: Error, request: Request): boolean {
  return request.signal.aborted || (error as NodeJS.ErrnoException).code === 'ECONNRESET'
}
