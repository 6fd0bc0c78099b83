// A port that answers every login with one error, as the poolers do that cannot be run here. It offers no encryption.
import { createServer, type Socket } from 'node:net'

/** Listens on the loopback. The fields are Postgres's: S severity, V the same untranslated, C code, M message. */
export async function startRefusing(
  fields: Readonly<Record<string, string>>,
): Promise<{ url: string; stop: () => Promise<void> }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (data) => {
      // An SSLRequest is 8 bytes long, every login is longer.
      if (data.length === 8) socket.write('N')
      else socket.end(errorResponse(fields))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  return {
    url: `postgres://app:pw@127.0.0.1:${port}/app`,
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function errorResponse(fields: Readonly<Record<string, string>>): Buffer {
  const body = Object.entries(fields).map(([type, value]) => `${type}${value}\0`)
  const text = Buffer.from(`${body.join('')}\0`)
  const head = Buffer.alloc(5)
  head.write('E')
  head.writeInt32BE(text.length + 4, 1)
  return Buffer.concat([head, text])
}
