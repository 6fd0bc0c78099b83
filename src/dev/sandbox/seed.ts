// Users from a seed, four fifths of them ordinary and the others odd in every way that real instances are: what breaks a
// mapping is in here. All addresses are of example.com, all phone numbers of the range kept for fiction.

import { buildUser, emailAddress, verification } from './new-user.ts'
import { ksuid, type Random, randomFrom } from './random.ts'
import { familyNames, givenNames, longName, namesInManyScripts, whitespaceNames } from './seed-names.ts'
import type { SandboxUser, UserParts } from './user.ts'

/** Every how many users an odd one comes; with as many kinds as below, 200 users hold one of each. */
const oddEvery = 5
const dayMs = 86_400_000
/** How far back ordinary sign-ups reach. */
const ageMsMax = 4 * 365 * dayMs
/** The default present of a seed, earlier than any run, so that everybody has long settled. */
const seedNow = Date.UTC(2026, 0, 1)
/** The instance that users belong to unless told otherwise. */
export const sandboxInstanceId = 'ins_2sandboxSandboxSandboxSand1'
/** The largest group of users imported with one `created_at`. */
const groupMax = 60
/** The share of users that begin such a group. */
const groupShare = 1 / 150
/** Every how many users one brings a date from before 1970 along. */
const ancientEvery = 97

/** What an odd kind needs to know to make its parts. */
interface Making {
  readonly random: Random
  readonly number: number
  readonly at: number
  /** The ordinary address of this user. */
  readonly email: string
}

const phone = ({ random }: Making) =>
  `+1${200 + random.below(800)}55501${String(random.below(100)).padStart(2, '0')}`
const walletAddress = ({ random }: Making) =>
  `0x${Array.from({ length: 40 }, () => random.below(16).toString(16)).join('')}`

const emailOf = ({ at, random }: Making, address: string) => emailAddress(address, at, random)

const unverified = (making: Making, address: string) => ({
  ...emailOf(making, address),
  verification: verification('verification_otp', 'email_code', 'unverified'),
})

function primarySecond(making: Making): UserParts {
  const first = emailOf(making, `old.${making.email}`)
  const second = emailOf(making, making.email)
  return { email_addresses: [first, second], primary_email_address_id: second.id }
}

function googleAccount(making: Making): UserParts {
  const { random, at, email } = making
  const id = ksuid('eac_', at, random)
  const address = {
    ...emailOf(making, email),
    verification: verification('verification_from_oauth', 'from_oauth_google'),
    linked_to: [{ type: 'oauth_google', id }],
  }
  const account = {
    object: 'google_account',
    id,
    provider: 'oauth_google',
    identification_id: ksuid('idn_', at, random),
    provider_user_id: String(100_000_000 + random.below(900_000_000)),
    approved_scopes: 'email https://www.googleapis.com/auth/userinfo.email openid profile',
    email_address: email,
    email_address_verified: true,
    first_name: 'Ada',
    last_name: 'Example',
    avatar_url: `https://images.example.com/${making.number}.png`,
    image_url: `https://img.clerk.com/${ksuid('', at, random)}`,
    username: null,
    phone_number: null,
    public_metadata: {},
    label: null,
    created_at: at,
    updated_at: at,
    verification: { ...verification('verification_oauth', 'oauth_google'), expire_at: at + 600_000 },
  }
  return {
    email_addresses: [address],
    primary_email_address_id: address.id,
    external_accounts: [account],
    image_url: account.image_url,
    has_image: true,
    password_enabled: false,
  }
}

/** Stands for a property that the JSON does not have. */
const absentProperty = undefined as never

/** The odd kinds. */
const oddKinds: readonly ((making: Making) => UserParts)[] = [
  primarySecond,
  (making) => ({
    email_addresses: [unverified(making, making.email), unverified(making, `other.${making.email}`)],
    primary_email_address_id: null,
  }),
  () => ({ email_addresses: [], primary_email_address_id: null, first_name: 'No', last_name: 'Email' }),
  (making) => ({ phone_number: phone(making), first_name: null, last_name: null }),
  (making) => ({ web3_wallet: walletAddress(making), first_name: null, last_name: null }),
  ({ number }) => ({ username: `user${number}`, first_name: null, last_name: null }),
  ({ email }) => ({ email_address: email, first_name: null, last_name: null }),
  ({ email }) => ({ email_address: email, last_name: null }),
  ({ email }) => ({ email_address: email, first_name: null }),
  ({ email }) => ({ email_address: email, first_name: '', last_name: '' }),
  ({ email, random }) => ({
    email_address: email,
    first_name: random.pick(whitespaceNames),
    last_name: null,
  }),
  ({ email }) => ({ email_address: email, first_name: longName, last_name: longName }),
  ({ email }) => ({ email_address: email, banned: true }),
  ({ email }) => ({
    email_address: email,
    locked: true,
    lockout_expires_in_seconds: 1800,
    verification_attempts_remaining: 0,
  }),
  ({ email }) => ({
    email_address: email,
    image_url: absentProperty,
    profile_image_url: absentProperty,
  }),
  (making) => {
    // The document calls `verification` nullable, but each schema that it may have is an object: null fits none.
    const unverified = verification('verification_otp', 'email_code', 'unverified')
    const address = { ...emailOf(making, making.email), verification: unverified }
    return { email_addresses: [address], primary_email_address_id: address.id }
  },
  ({ email }) => ({
    email_address: email,
    private_metadata: absentProperty,
    unsafe_metadata: absentProperty,
  }),
  ({ email }) => ({ email_address: email, private_metadata: null }),
  googleAccount,
  (making) => ({
    email_address: [making.email, `second.${making.email}`],
    phone_number: phone(making),
    username: `everything${making.number}`,
    web3_wallet: walletAddress(making),
    external_id: `legacy-${making.number}`,
    public_metadata: { plan: 'pro', seats: 3 },
  }),
  ({ email }) => ({ email_address: email.toUpperCase(), deprovisioned: true }),
  ({ email }) => ({ email_address: email, image_url: '', has_image: false }),
]

/** Names in many scripts are a kind of their own: each of them comes. */
const kindCount = oddKinds.length + namesInManyScripts.length

function oddParts(kind: number, making: Making): UserParts {
  const odd = oddKinds[kind]
  if (odd !== undefined) return odd(making)
  const [first_name, last_name] = namesInManyScripts[kind - oddKinds.length] ?? ['', '']
  return { email_address: making.email, first_name, last_name }
}

/** Times after sign-up, as ordinary life leaves them. */
function lifeOf(at: number, now: number, random: Random): UserParts {
  if (random.chance(0.15)) return { last_sign_in_at: null, last_active_at: null, updated_at: at }
  const signedInAt = Math.floor(at + (now - at) * random.fraction())
  return {
    last_sign_in_at: signedInAt,
    last_active_at: signedInAt,
    updated_at: Math.min(signedInAt + 25 + random.below(12), now),
  }
}

/**
 * That many users, from the oldest sign-up to the newest but for a few imports with ancient dates. The same options
 * give the same users, and no user is younger than `now` (the first of January 2026 if absent, in ms).
 */
export function seedUsers(options: {
  count: number
  seed?: number
  now?: number
  instanceId?: string
}): SandboxUser[] {
  const { count, seed = 1, now = seedNow, instanceId = sandboxInstanceId } = options
  const random = randomFrom(seed)
  const users: SandboxUser[] = []
  let groupLeft = 0
  let groupAt = 0
  for (let number = 0; number < count; number += 1) {
    const signedUpAt = Math.floor(now - ageMsMax + ((number + random.fraction()) / count) * (ageMsMax - 1))
    if (groupLeft === 0 && (number === 1 || random.chance(groupShare))) {
      groupLeft = 2 + random.below(Math.max(1, Math.min(groupMax, count >> 2) - 1))
      groupAt = signedUpAt
    }
    const isGrouped = groupLeft > 0
    if (isGrouped) groupLeft -= 1
    const isAncient = number % ancientEvery === 7
    const at = isAncient
      ? -Math.floor(random.fraction() * 20 * 365 * dayMs) - 1
      : isGrouped
        ? groupAt
        : signedUpAt
    const first_name = random.pick(givenNames)
    const last_name = random.pick(familyNames)
    const email = `${first_name}.${last_name}.${number}@example.com`.toLowerCase()
    const ordinal = Math.floor(number / oddEvery)
    const isOdd = number % oddEvery === 4
    const making = { random, number, at, email }
    const parts: UserParts = {
      id: ksuid('user_', signedUpAt, random),
      first_name,
      last_name,
      created_at: at,
      ...lifeOf(signedUpAt, now, random),
      ...(isOdd ? oddParts(ordinal % kindCount, making) : { email_address: email }),
    }
    users.push(withoutAbsent(buildUser(parts, instanceId, at, random)))
  }
  return users
}

/** JSON has no undefined: what is absent on the wire is absent here too. */
function withoutAbsent(user: SandboxUser): SandboxUser {
  const absent = Object.entries(user).filter(([, value]) => value === undefined)
  for (const [name] of absent) delete (user as unknown as Record<string, unknown>)[name]
  return user
}
