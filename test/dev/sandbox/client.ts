// How these tests talk to the sandbox: plain fetch over the loopback, nothing of the tool itself.
import { afterEach } from 'vitest'
import {
  createSandbox,
  type Sandbox,
  type SandboxOptions,
  type SandboxUser,
} from '../../../src/dev/sandbox/sandbox.ts'

const running: Sandbox[] = []

afterEach(async () => {
  await Promise.all(running.splice(0).map((sandbox) => sandbox.close()))
})

/** A sandbox without a request limit that ends with the test. */
export async function start(options: SandboxOptions = {}): Promise<Sandbox> {
  const sandbox = await createSandbox({ rateLimit: null, ...options })
  running.push(sandbox)
  return sandbox
}

export function get(sandbox: Sandbox, path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(`${sandbox.url}/v1${path}`, {
    headers: { authorization: `Bearer ${sandbox.secretKey}` },
    ...init,
  })
}

/** The body; throws where the status is not 200. */
export async function json<T>(sandbox: Sandbox, path: string): Promise<T> {
  const response = await get(sandbox, path)
  if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`)
  return (await response.json()) as T
}

export const list = (sandbox: Sandbox, query = '') => json<SandboxUser[]>(sandbox, `/users?${query}`)
export const ids = async (sandbox: Sandbox, query = '') => (await list(sandbox, query)).map(({ id }) => id)

export async function count(sandbox: Sandbox, query = ''): Promise<number> {
  return (await json<{ total_count: number }>(sandbox, `/users/count?${query}`)).total_count
}

/** The ids of all pages, walked by the cursor until one is short. */
export async function walk(sandbox: Sandbox, order: string, limit: number): Promise<string[]> {
  const seen: string[] = []
  for (let cursor = ''; ; cursor = `&starting_after=${seen.at(-1)}`) {
    const page = await ids(sandbox, `limit=${limit}&order_by=${order}${cursor}`)
    seen.push(...page)
    if (page.length < limit) return seen
  }
}

export async function errorCode(response: Response): Promise<unknown> {
  const body = (await response.json()) as { errors: { code: string }[]; clerk_trace_id: string }
  return {
    status: response.status,
    code: body.errors[0]?.code,
    traced: /^[0-9a-f]{32}$/.test(body.clerk_trace_id),
  }
}
