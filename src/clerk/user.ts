// Clerk's user JSON → the values of a row. The mapping is canonical: what is written reads back equal, or an unchanged
// user would drift on every run. One user that cannot be mapped is rejected alone.
import type { DesiredUser, SyncedValues } from '../db/schema.ts'

/** One element of a list answer, as far as it could be read. */
export type ReadUser =
  | {
      readonly kind: 'user'
      readonly clerkId: string
      readonly createdAt: number
      readonly updatedAt: number
      readonly desired: DesiredUser
    }
  | {
      readonly kind: 'rejected'
      readonly clerkId: string
      /** Where the user stands in a list by creation time; undefined if that cannot be read either. */
      readonly createdAt: number | undefined
      /** Its version, where that can be read. */
      readonly updatedAt: number | undefined
      readonly reason: string
    }
  /** The id is unreadable, so nobody knows which user this was. The pass then proves no absence. */
  | { readonly kind: 'unreadable' }

/** A user of a list answer whose id at least can be read. */
export type ReadableUser = Exclude<ReadUser, { kind: 'unreadable' }>

/** Whatever else a row's `clerk_id` holds is not ours; db/users.ts says the same to Postgres. */
const clerkId = /^user_[A-Za-z0-9]+$/

/** Year 1 to year 9999: what both JavaScript's ISO form and Postgres write the same way. */
const earliestMs = Date.parse('0001-01-01T00:00:00.000Z')
const latestMs = Date.parse('9999-12-31T23:59:59.999Z')

/** True for an id of the form that Clerk gives users. */
export function isClerkUserId(value: unknown): value is string {
  return typeof value === 'string' && clerkId.test(value)
}

/** Reads one user of Clerk's. Never throws: what is wrong comes back as a reason that holds no value of the user. */
export function readUser(json: unknown): ReadUser {
  if (!isRecord(json) || !isClerkUserId(json.id)) return { kind: 'unreadable' }
  const createdAt = milliseconds(json.created_at)
  const fields = mapFields(json)
  if (typeof fields === 'string') {
    const updatedAt = milliseconds(json.updated_at)
    return { kind: 'rejected', clerkId: json.id, createdAt, updatedAt, reason: fields }
  }
  return {
    kind: 'user',
    clerkId: json.id,
    createdAt: fields.clerkCreatedAt,
    updatedAt: fields.clerkUpdatedAt,
    desired: { clerkId: json.id, ...fields },
  }
}

type Json = Record<string, unknown>

/** What decides a value of the row and is required by Clerk's document, though it may be null. */
const requiredTexts = [
  ...['first_name', 'last_name', 'username'],
  ...['primary_email_address_id', 'primary_phone_number_id', 'primary_web3_wallet_id'],
]

/** The row's values, or the reason why there are none. */
function mapFields(user: Json): Omit<DesiredUser, 'clerkId'> | string {
  const clerkCreatedAt = milliseconds(user.created_at)
  const clerkUpdatedAt = milliseconds(user.updated_at)
  if (!isStorableTime(clerkCreatedAt)) return 'created_at is not a time of the years 1 to 9999'
  if (!isStorableTime(clerkUpdatedAt)) return 'updated_at is not a time of the years 1 to 9999'
  // Absent is not empty: a user without its names, or without the id of its address, would overwrite the row's.
  for (const key of requiredTexts) {
    if (!isTextOrNull(user[key])) return `${key} is neither a text nor null`
  }
  for (const key of ['email_addresses', 'phone_numbers', 'web3_wallets']) {
    if (!Array.isArray(user[key])) return `${key} is not a list`
  }
  if (user.image_url !== undefined && !isTextOrNull(user.image_url)) {
    return 'image_url is neither a text nor null'
  }
  const email = primary(user.email_addresses, user.primary_email_address_id, 'email_address')
  if (email === undefined) return 'the primary email address is not in email_addresses'
  const name = displayName(user, email)
  if (name === undefined) return 'the primary phone number or wallet is not in its list'
  const values: SyncedValues = {
    name,
    email,
    imageUrl: text(user.image_url),
  }
  return { values, clerkCreatedAt, clerkUpdatedAt }
}

/**
 * First and last name; else username, primary email, phone, wallet, Clerk id: a name is never empty. Undefined if it
 * would be a phone number or a wallet that cannot be read.
 */
function displayName(user: Json, email: string | null): string | undefined {
  const fullName = [text(user.first_name), text(user.last_name)]
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .join(' ')
  const name = fullName || text(user.username).trim() || email?.trim()
  if (name) return name
  const phone = primary(user.phone_numbers, user.primary_phone_number_id, 'phone_number')
  if (phone === undefined || phone?.trim()) return phone?.trim()
  const wallet = primary(user.web3_wallets, user.primary_web3_wallet_id, 'web3_wallet')
  if (wallet === undefined || wallet?.trim()) return wallet?.trim()
  return String(user.id)
}

/** The primary element's value, null if there is none, undefined if it is named but cannot be read. */
function primary(list: unknown, primaryId: unknown, key: string): string | null | undefined {
  if (primaryId === null) return null
  const found = Array.isArray(list) ? list.find((each) => isRecord(each) && each.id === primaryId) : undefined
  return isRecord(found) && typeof found[key] === 'string' ? text(found[key]) : undefined
}

/** Text as Postgres can hold it: no NUL, and well-formed Unicode. */
function text(value: unknown): string {
  return typeof value === 'string' ? value.replaceAll('\u0000', '').toWellFormed() : ''
}

function isTextOrNull(value: unknown): boolean {
  return typeof value === 'string' || value === null
}

function milliseconds(value: unknown): number | undefined {
  return Number.isFinite(value) ? Math.floor(Number(value)) : undefined
}

/** True for a time that the table can hold: of the years 1 to 9999. */
export function isStorableTime(value: number | undefined): value is number {
  return value !== undefined && value >= earliestMs && value <= latestMs
}

function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
