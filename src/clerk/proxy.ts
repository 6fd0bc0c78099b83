// The way to Clerk where a proxy is the only way out of a network. It is its own `fetch`, because the one of Node before
// version 24 knows no proxy.
import { EnvHttpProxyAgent, fetch as fetchWithAgent } from 'undici'

export interface ProxySettings {
  /** Of the proxy; may hold a user and a password. */
  readonly url: string
  /** Hosts that are reached without it, as `NO_PROXY` lists them. */
  readonly noProxy: string
}

/** Opens the way through a proxy. `close` ends its connections. */
export function openProxy({ url, noProxy }: ProxySettings): { fetch: typeof fetch; close(): void } {
  // All three are given, or the agent would read the environment itself.
  const agent = new EnvHttpProxyAgent({ httpProxy: url, httpsProxy: url, noProxy })
  return {
    // The two are of one specification; their types differ where Node's own are older.
    fetch: ((input: string | URL, init: object) =>
      fetchWithAgent(input, { ...init, dispatcher: agent })) as unknown as typeof fetch,
    close: () => void agent.destroy().catch(() => undefined),
  }
}
