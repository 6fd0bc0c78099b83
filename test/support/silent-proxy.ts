// A way to Postgres that can fall silent, as a paused pooler or a lost network does: connections stay open, and what is
// sent on those that were there comes to nothing. New ones work.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface SilentProxy {
  /** The database's URL by way of the proxy. */
  readonly url: string
  /** From now on nothing passes on the connections of now. */
  silence(): void
  close(): void
}

/** Starts the proxy before the database of that URL. */
export async function startSilentProxy(target: string): Promise<SilentProxy> {
  const { hostname, port } = new URL(target)
  const open = new Set<Socket>()
  const silent = new Set<Socket>()
  const server = createServer((client) => {
    const postgres = connect(Number(port), hostname)
    for (const [from, to] of [
      [client, postgres],
      [postgres, client],
    ] as const) {
      open.add(from)
      from.on('data', (bytes) => {
        if (!silent.has(from)) to.write(bytes)
      })
      from.on('error', () => {})
      from.on('close', () => to.destroy())
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = new URL(target)
  url.hostname = '127.0.0.1'
  url.port = String((server.address() as AddressInfo).port)
  return {
    url: url.href,
    silence() {
      for (const socket of open) silent.add(socket)
    },
    close() {
      for (const socket of open) socket.destroy()
      server.close()
    },
  }
}
