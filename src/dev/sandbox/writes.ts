// Creating, changing and deleting users over HTTP, so that a person can play with the sandbox with curl. No more than
// the common properties, and none of Clerk's checks (a taken email address is accepted).

import { Refusal } from './query.ts'
import { userNotFound } from './reads.ts'
import { errorReply, jsonReply, type Reply } from './reply.ts'
import type { UserStore } from './store.ts'
import type { UserParts } from './user.ts'

const textProperties = ['first_name', 'last_name', 'username', 'external_id'] as const
const metadataProperties = ['public_metadata', 'private_metadata', 'unsafe_metadata'] as const
const listProperties = ['email_address', 'phone_number', 'web3_wallet'] as const

/** The parts that the body names. Throws a `Refusal` where one is of the wrong kind. */
async function readParts(request: Request): Promise<UserParts> {
  const text = await request.text()
  const body: unknown = text === '' ? {} : JSON.parse(text)
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new SyntaxError('the body is no JSON object')
  const given = body as Record<string, unknown>
  const parts: UserParts = {}
  for (const name of textProperties) {
    const value = given[name]
    if (value === undefined) continue
    if (value !== null && typeof value !== 'string') throw new Refusal(name, `${name} must be a string.`)
    parts[name] = value
  }
  for (const name of metadataProperties) {
    const value = given[name]
    if (value === undefined) continue
    if (typeof value !== 'object' || value === null) throw new Refusal(name, `${name} must be an object.`)
    parts[name] = value as Record<string, unknown>
  }
  for (const name of listProperties) {
    const value = given[name]
    if (value === undefined) continue
    const isList = Array.isArray(value) && value.every((element) => typeof element === 'string')
    if (!isList) throw new Refusal(name, `${name} must be an array of strings.`)
    parts[name] = value as string[]
  }
  if (given.created_at !== undefined) {
    const createdAt = Date.parse(String(given.created_at))
    if (Number.isNaN(createdAt)) throw new Refusal('created_at', 'created_at must be an RFC 3339 date.')
    parts.created_at = createdAt
  }
  return parts
}

async function withParts(request: Request, write: (parts: UserParts) => Reply): Promise<Reply> {
  try {
    return write(await readParts(request))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return errorReply(400, 'request_body_invalid', 'Request body invalid')
  }
}

/** `POST /v1/users`. */
export function createUser(users: UserStore, request: Request): Promise<Reply> {
  return withParts(request, (parts) => jsonReply(users.create(parts)))
}

/** `PATCH /v1/users/{id}`; metadata is replaced as a whole. */
export async function updateUser(users: UserStore, id: string, request: Request): Promise<Reply> {
  if (users.get(id) === undefined) return userNotFound(id)
  return withParts(request, (parts) => jsonReply(users.update(id, parts)))
}

/** `DELETE /v1/users/{id}`. */
export function deleteUser(users: UserStore, id: string): Reply {
  return users.delete(id) === undefined ? userNotFound(id) : jsonReply({ object: 'user', id, deleted: true })
}
