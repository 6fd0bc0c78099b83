// Makes whole users out of a few parts, for the seed, for tests and for `POST /v1/users`.
import { ksuid, type Random } from './random.ts'
import type {
  SandboxEmailAddress,
  SandboxPhoneNumber,
  SandboxUser,
  SandboxVerification,
  SandboxWallet,
  UserParts,
} from './user.ts'

/** The kinds of verification that the document tells apart, by the name of their schema. */
type VerificationObject =
  | 'verification_otp'
  | 'verification_from_oauth'
  | 'verification_oauth'
  | 'verification_web3'

/** A verification as that strategy leaves it behind. */
export function verification(
  object: VerificationObject,
  strategy: string,
  status: 'verified' | 'unverified' = 'verified',
): SandboxVerification {
  return { object, status, strategy, attempts: status === 'verified' ? 1 : null, expire_at: null }
}

/** An email address with an id of its own. */
export function emailAddress(email: string, at: number, random: Random): SandboxEmailAddress {
  return {
    id: ksuid('idn_', at, random),
    object: 'email_address',
    email_address: email,
    reserved: false,
    verification: verification('verification_otp', 'email_code'),
    linked_to: [],
    matches_sso_connection: false,
    created_at: at,
    updated_at: at,
  }
}

function phoneNumber(phone: string, at: number, random: Random): SandboxPhoneNumber {
  return {
    id: ksuid('idn_', at, random),
    object: 'phone_number',
    phone_number: phone,
    reserved_for_second_factor: false,
    default_second_factor: false,
    reserved: false,
    verification: verification('verification_otp', 'phone_code'),
    linked_to: [],
    backup_codes: null,
    created_at: at,
    updated_at: at,
  }
}

function wallet(address: string, at: number, random: Random): SandboxWallet {
  return {
    id: ksuid('idn_', at, random),
    object: 'web3_wallet',
    web3_wallet: address,
    verification: verification('verification_web3', 'web3_metamask_signature'),
    created_at: at,
    updated_at: at,
  }
}

/** Clerk's default avatar: its address carries instance, user and initials, so it changes with the name. */
export function defaultAvatar(
  instanceId: string,
  user: Pick<SandboxUser, 'id' | 'first_name' | 'last_name'>,
): string {
  const initials = [user.first_name, user.last_name].map((name) => [...(name ?? '')][0] ?? '').join('')
  const facts = { type: 'default', iid: instanceId, rid: user.id, ...(initials === '' ? {} : { initials }) }
  return `https://img.clerk.com/${Buffer.from(JSON.stringify(facts)).toString('base64')}`
}

const list = (value: string | readonly string[]) => (typeof value === 'string' ? [value] : value)

/** The identifiers that the shorthands stand for; without a shorthand, nothing. */
export function identifiersOf(parts: UserParts, at: number, random: Random): Partial<SandboxUser> {
  const identifiers: Partial<SandboxUser> = {}
  if (parts.email_address !== undefined) {
    identifiers.email_addresses = list(parts.email_address).map((email) => emailAddress(email, at, random))
    identifiers.primary_email_address_id = identifiers.email_addresses[0]?.id ?? null
  }
  if (parts.phone_number !== undefined) {
    identifiers.phone_numbers = list(parts.phone_number).map((phone) => phoneNumber(phone, at, random))
    identifiers.primary_phone_number_id = identifiers.phone_numbers[0]?.id ?? null
  }
  if (parts.web3_wallet !== undefined) {
    identifiers.web3_wallets = list(parts.web3_wallet).map((address) => wallet(address, at, random))
    identifiers.primary_web3_wallet_id = identifiers.web3_wallets[0]?.id ?? null
  }
  return identifiers
}

/** The parts without the shorthands: what can be laid over a user. */
export function propertiesOf(parts: UserParts): Partial<SandboxUser> {
  const { email_address: _email, phone_number: _phone, web3_wallet: _wallet, ...properties } = parts
  return properties
}

const identifierParts = [
  'email_address',
  'email_addresses',
  'phone_number',
  'phone_numbers',
  'web3_wallet',
  'web3_wallets',
  'username',
] as const

/** A whole user from parts. Without any identifier it gets an address of its own, since Clerk lets nobody in without one. */
export function buildUser(parts: UserParts, instanceId: string, at: number, random: Random): SandboxUser {
  const id = parts.id ?? ksuid('user_', at, random)
  const named = identifierParts.some((property) => parts[property] !== undefined)
  const identified = named ? parts : { ...parts, email_address: `${id.slice(-12).toLowerCase()}@example.com` }
  const user: SandboxUser = {
    id,
    object: 'user',
    username: null,
    first_name: null,
    last_name: null,
    locale: null,
    image_url: '',
    has_image: false,
    primary_email_address_id: null,
    primary_phone_number_id: null,
    primary_web3_wallet_id: null,
    password_enabled: true,
    two_factor_enabled: false,
    totp_enabled: false,
    backup_code_enabled: false,
    email_addresses: [],
    phone_numbers: [],
    web3_wallets: [],
    passkeys: [],
    organization_memberships: [],
    external_accounts: [],
    saml_accounts: [],
    enterprise_accounts: [],
    password_last_updated_at: at,
    public_metadata: {},
    private_metadata: {},
    unsafe_metadata: {},
    external_id: null,
    last_sign_in_at: null,
    banned: false,
    locked: false,
    deprovisioned: false,
    lockout_expires_in_seconds: null,
    verification_attempts_remaining: 100,
    created_at: at,
    updated_at: at,
    delete_self_enabled: true,
    create_organization_enabled: true,
    create_organizations_limit: null,
    last_active_at: null,
    mfa_enabled_at: null,
    mfa_disabled_at: null,
    legal_accepted_at: null,
    bypass_client_trust: false,
    scim: null,
    ...identifiersOf(identified, at, random),
    ...propertiesOf(parts),
  }
  if (!('image_url' in parts)) user.image_url = defaultAvatar(instanceId, user)
  if (parts.profile_image_url === undefined && user.image_url !== undefined)
    user.profile_image_url = user.image_url
  return user
}
