// The bound on a request holds whatever the garbage collector does: Node may take away a timeout that nobody but a
// combined signal refers to.

import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { withTimeout } from '../src/deadline.ts'

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

const never = new AbortController().signal

test.each<[string, RequestListener]>([
  ['an answer that never comes', () => {}],
  [
    'a body that stops',
    (_request, response) => void response.writeHead(200, { 'content-length': 9 }).write('{'),
  ],
])('%s is waited for no longer, also while memory is collected', async (_what, answer) => {
  const server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const collecting = setInterval(collectGarbage, 20)
  try {
    const text = withTimeout(never, 200, async (signal) => (await fetch(url, { signal })).text())
    await expect(text).rejects.toMatchObject({ name: 'TimeoutError' })
  } finally {
    clearInterval(collecting)
    server.closeAllConnections()
    server.close()
  }
})

test('what is done in time is the answer, and leaves nothing behind that could abort', async () => {
  let given: AbortSignal | undefined
  const stop = new AbortController()
  const answer = await withTimeout(stop.signal, 60_000, async (signal) => {
    given = signal
    return 'done'
  })
  stop.abort()
  expect(answer).toBe('done')
  expect(given?.aborted).toBe(false)
})

test('an abort ends it with the reason of the abort, also one that came before', async () => {
  const stop = new AbortController()
  const reason = new Error('stopped')
  const work = withTimeout(
    stop.signal,
    60_000,
    (signal) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  )
  stop.abort(reason)
  await expect(work).rejects.toBe(reason)
  await expect(withTimeout(stop.signal, 60_000, async () => 'begun')).rejects.toBe(reason)
})
