// `npm run dev:webhook`: as a process with a stand-in for ngrok's native module, and the native module itself against
// ports of this machine. No test asks ngrok.
import { once } from 'node:events'
import { cp, mkdir, readdir, rm, symlink } from 'node:fs/promises'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { failureOf, openTunnel, TunnelFailure } from '../../src/dev/ngrok.ts'
import { createProject, type Environment, type Project, type Running } from '../cli/command.ts'

const repository = resolve(import.meta.dirname, '../..')
const authtoken = '2fKq8ZtokenOfNobody_4hXw7LpR3sVn'
const domain = 'a-static-name.ngrok-free.app'
const configured = { NGROK_AUTHTOKEN: authtoken, NGROK_DOMAIN: domain, PORT: '4322' }

/** Says on stdout what it was asked; `STAND_IN` says how it answers. */
const standIn = `
exports.forward = async (config) => {
  console.log('asked', JSON.stringify({ addr: config.addr, domain: config.domain, hasToken: Boolean(config.authtoken) }))
  const mode = process.env.STAND_IN
  if (mode === 'hangs') return new Promise(() => {})
  if (mode !== 'opens' && mode !== 'does not close') throw Object.assign(new Error(mode), { code: 'GenericFailure' })
  setTimeout(() => { config.onStatusChange('closed'); config.onStatusChange('connected') }, 200)
  return {
    url: () => 'https://' + config.domain,
    close: () => (mode === 'opens' ? Promise.resolve(console.log('closed')) : new Promise(() => {})),
  }
}`

let project: Project
beforeAll(async () => {
  project = await createProject()
  const modules = join(project.directory, 'node_modules')
  const sources = join(project.directory, 'src')
  await Promise.all([rm(modules), rm(sources)])
  // A copy: a link would lead to the repository's own modules.
  await cp(join(repository, 'src'), sources, { recursive: true })
  await mkdir(join(modules, '@ngrok/ngrok'), { recursive: true })
  for (const name of await readdir(join(repository, 'node_modules'))) {
    if (name !== '@ngrok') await symlink(join(repository, 'node_modules', name), join(modules, name))
  }
  await project.write('node_modules/@ngrok/ngrok/index.js', standIn)
})
afterAll(() => project.remove())

/** What the script runs, without the time that npm takes. */
const start = (env: Environment): Running =>
  project.start([process.execPath, '--import', 'tsx', 'src/dev/tunnel.ts'], env)

test.concurrent('opens the static domain on the local port and says what to enter in the dashboard', async () => {
  const env = { ...configured, STAND_IN: 'opens', PORT: '4321' }
  const running = project.start(['npm', 'run', '--silent', 'dev:webhook'], env)
  await running.said('Ctrl+C')
  running.child.kill('SIGINT')
  const { stdout } = await running.ended
  expect(stdout).toContain(`asked {"addr":"127.0.0.1:4321","domain":"${domain}","hasToken":true}`)
  expect(stdout).toContain(`Endpoint URL         https://${domain}/api/users/webhook\n`)
  expect(stdout).toContain('user.created, user.updated, user.deleted')
  expect(stdout).toContain('CLERK_WEBHOOK_SIGNING_SECRET=whsec_')
})

test.concurrent.for(['SIGINT', 'SIGTERM'] as const)(
  '%s closes the tunnel and ends with 0',
  async (signal) => {
    const running = start({ ...configured, STAND_IN: 'opens' })
    await running.said('open again')
    running.child.kill(signal)
    const ended = await running.ended
    expect(ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/closed\n$/) })
    expect(ended.stderr).toBe('The tunnel is interrupted; ngrok tries again.\nThe tunnel is open again.\n')
  },
)

test.concurrent('ends with 0 after a signal although ngrok neither answers nor lets itself be closed', async () => {
  const [waiting, open] = [
    start({ ...configured, STAND_IN: 'hangs' }),
    start({ ...configured, STAND_IN: 'does not close' }),
  ]
  await Promise.all([waiting.said('asked'), open.said('Ctrl+C')])
  for (const { child } of [waiting, open]) child.kill('SIGTERM')
  expect(await Promise.all([waiting.ended, open.ended])).toMatchObject([{ code: 0 }, { code: 0 }])
})

test.concurrent.for([
  [
    'answers with a page of its own',
    (_request: IncomingMessage, response: ServerResponse) => response.end('<html>'),
  ],
  ['does not answer', () => {}],
] as const)('leads to no port whose program %s', async ([, answer]) => {
  const server = createHttpServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const ended = await start({ ...configured, STAND_IN: 'opens', PORT: `${port}` }).ended
  expect(ended).toMatchObject({ code: 78, stdout: '' })
  expect(ended.stderr).toMatch(/another program's, not the worker's\n.*PORT=3100/)
  server.closeAllConnections()
  server.close()
})

test.concurrent('leads to the port of the worker', async () => {
  const server = createHttpServer((_request, response) => response.end('{"status":"ok"}')).listen(
    0,
    '127.0.0.1',
  )
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const running = start({ ...configured, STAND_IN: 'opens', PORT: `${port}` })
  await running.said('Ctrl+C')
  running.child.kill('SIGINT')
  expect((await running.ended).code).toBe(0)
  server.close()
})

test.concurrent('names token and domain where both are missing, with the way to them, and exits with 78', async () => {
  const ended = await start({ STAND_IN: 'opens' }).ended
  expect(ended).toMatchObject({ code: 78, stdout: '' })
  expect(ended.stderr).toMatch(/^NGROK_AUTHTOKEN: is not set\. .*https:\/\/dashboard\.ngrok\.com/m)
  expect(ended.stderr).toMatch(/^NGROK_DOMAIN: is not set\. .*https:\/\/dashboard\.ngrok\.com/m)
  expect(ended.stderr).not.toMatch(/^\s+at /m)
  expect((await start({ NGROK_AUTHTOKEN: authtoken, STAND_IN: 'opens' }).ended).code).toBe(78)
  expect((await start({ NGROK_DOMAIN: domain, STAND_IN: 'opens' }).ended).code).toBe(78)
})

test.concurrent.for([
  {
    what: 'a bad token',
    mode: `failed to connect session: authentication failure: The authtoken you specified is not valid.\nYour authtoken: ${authtoken}\r\n\r\nerror_code: ERR_NGROK_105`,
    said: 'ngrok does not accept the token (ERR_NGROK_105)',
    code: 1,
  },
  {
    what: 'a domain in use',
    mode: `failed to start listener: The endpoint 'https://${domain}' is already online.\r\n\r\nerror_code: ERR_NGROK_334`,
    said: `${domain} is already in use by another tunnel (ERR_NGROK_334)`,
    code: 1,
  },
  {
    what: 'no network',
    mode: 'failed to connect session: failed to establish tcp connection',
    said: 'ngrok cannot be reached',
    code: 75,
  },
])(
  '$what: a message of our own with a way out, exit $code, no stack and no token',
  async ({ mode, said, code }) => {
    const ended = await start({ ...configured, STAND_IN: mode }).ended
    expect(ended.code).toBe(code)
    expect(ended.stderr).toMatch(/^error: .+\n.+\n/)
    expect(ended.stderr).toContain(said)
    expect(`${ended.stdout}${ended.stderr}`).not.toContain(authtoken)
    expect(ended.stderr).not.toMatch(/^\s+at /m)
  },
)

test.concurrent('every other refusal leads to its page, without what ngrok said', () => {
  const failure = failureOf(
    new Error(`no\nYour authtoken: ${authtoken}\n\nerror_code: ERR_NGROK_9999`),
    domain,
  )
  expect(failure).toMatchObject({ message: 'ngrok refuses the tunnel (ERR_NGROK_9999)', exitCode: 1 })
  expect(failure.hint).toContain('https://ngrok.com/docs/errors/err_ngrok_9999')
  expect(failure.hint).not.toContain(authtoken)
})

test.concurrent('the native module: a closed port, a server that is not ngrok and one that is silent are no network', async () => {
  const sockets = new Set<{ destroy(): void }>()
  const silent = createServer((socket) => void sockets.add(socket.on('error', () => {}))).listen(
    0,
    '127.0.0.1',
  )
  const rude = createServer((socket) => socket.end('220 mail.example.com ESMTP\r\n')).listen(0, '127.0.0.1')
  const closed = createServer().listen(0, '127.0.0.1')
  await Promise.all([silent, rude, closed].map((server) => once(server, 'listening')))
  const portOf = (server: typeof silent) => (server.address() as AddressInfo).port
  const ports = [silent, rude, closed].map(portOf)
  closed.close()
  try {
    for (const port of ports) {
      const opening = openTunnel({
        authtoken,
        domain,
        port: 3000,
        serverAddress: `127.0.0.1:${port}`,
        openMsMax: 1000,
      })
      const failure = await opening.catch((error: unknown) => error)
      expect(failure).toBeInstanceOf(TunnelFailure)
      expect(failure).toMatchObject({ message: 'ngrok cannot be reached', exitCode: 75 })
    }
  } finally {
    for (const socket of sockets) socket.destroy()
    silent.close()
    rude.close()
  }
})
