// A proxy as the only way to Clerk: a real one, that opens tunnels to a server with a certificate of its own, which hands
// the requests on to the sandbox.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type Server, request as sendRequest } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { resolve } from 'node:path'
import { expect, type TestContext, test } from 'vitest'
import { openShopForTest, reportOf, type Shop } from './command.ts'

/** Key and certificate of `db.example.com`, which nobody has signed; for a hundred years. */
const certificate = resolve(import.meta.dirname, '../support/self-signed.pem')
const host = 'db.example.com'

interface Proxy {
  readonly port: number
  /** What tunnels were asked for, with the credentials. */
  readonly asked: { readonly target: string; readonly credentials: string | undefined }[]
}

async function listen(context: Pick<TestContext, 'onTestFinished'>, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  context.onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** Whatever host a tunnel is asked for, it leads to the sandbox. With `status`, no tunnel is opened. */
async function openProxy(
  context: Pick<TestContext, 'onTestFinished'>,
  shop: Shop,
  status = 200,
): Promise<Proxy> {
  const pem = readFileSync(certificate)
  const front = createTlsServer({ key: pem, cert: pem }, (incoming, outgoing) => {
    const { url: path = '/', method = 'GET', headers } = incoming
    const inner = sendRequest(
      { host: '127.0.0.1', port: shop.sandbox.port, path, method, headers },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 500, answer.headers)
        answer.pipe(outgoing)
      },
    )
    incoming.pipe(inner)
  }) as unknown as Server
  const frontPort = await listen(context, front)
  const asked: { target: string; credentials: string | undefined }[] = []
  const proxy = createServer().on('connect', (request, socket) => {
    asked.push({ target: request.url ?? '', credentials: request.headers['proxy-authorization'] })
    socket.on('error', () => {})
    if (status !== 200) {
      socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`)
      return
    }
    const tunnel = connect(frontPort, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      tunnel.pipe(socket).pipe(tunnel)
    })
    tunnel.on('error', () => socket.destroy())
    socket.on('close', () => tunnel.destroy())
  })
  return { port: await listen(context, proxy), asked }
}

const environment = (proxy: Proxy) => ({
  CLERK_API_URL: `https://${host}`,
  HTTPS_PROXY: `http://ada:secret-word@127.0.0.1:${proxy.port}`,
  NODE_EXTRA_CA_CERTS: certificate,
})

test.concurrent('a sync goes through the proxy, with its user and password', async (context) => {
  const shop = await openShopForTest(context, { count: 7 })
  const proxy = await openProxy(context, shop)
  const ended = await shop.run(['sync', '--json'], environment(proxy))
  expect(reportOf(ended)).toMatchObject({ status: 'succeeded', counts: { created: 7 } })
  expect(new Set(proxy.asked.map(({ target }) => target))).toEqual(new Set([`${host}:443`]))
  const credentials = `Basic ${Buffer.from('ada:secret-word').toString('base64')}`
  expect(new Set(proxy.asked.map((each) => each.credentials))).toEqual(new Set([credentials]))
})

test.concurrent('an authority that is not known is named as that of a proxy that inspects, and is exit 78', async (context) => {
  const shop = await openShopForTest(context, { count: 3 })
  const proxy = await openProxy(context, shop)
  const { NODE_EXTRA_CA_CERTS: _, ...env } = environment(proxy)
  const { code, stdout, stderr } = await shop.run(['sync'], env)
  expect(code).toBe(78)
  expect(stdout + stderr).toContain('NODE_EXTRA_CA_CERTS')
  expect(stdout + stderr).not.toContain('secret-word')
})

test.concurrent('a proxy that opens no tunnel is exit 75, and the hint names it without its password', async (context) => {
  const shop = await openShopForTest(context, { count: 3 })
  const proxy = await openProxy(context, shop, 407)
  const { code, stdout, stderr } = await shop.run(['sync'], environment(proxy))
  expect(code).toBe(75)
  expect(stdout + stderr).toContain('HTTPS_PROXY')
  expect(stdout + stderr).not.toContain('secret-word')
})

test.concurrent('this machine, and what NO_PROXY lists, are reached without it', async (context) => {
  const shop = await openShopForTest(context, { count: 3 })
  const proxy = await openProxy(context, shop)
  const env = environment(proxy)
  const here = await shop.run(['sync', '--json'], { ...env, CLERK_API_URL: shop.sandbox.url })
  expect(reportOf(here)).toMatchObject({ status: 'succeeded', counts: { created: 3 } })
  // The name has no address.
  const { code } = await shop.run(['sync'], { ...env, NO_PROXY: '.example.com' })
  expect(code).toBe(75)
  expect(proxy.asked).toEqual([])
})
