// A user as the Users API returns it: every property that Clerk's OpenAPI document requires, and those that real
// payloads carry besides. A user is never changed in place: a change makes a new object, because history keeps the old.

export interface SandboxVerification {
  object: string
  status: string
  strategy: string
  attempts: number | null
  expire_at: number | null
}

export interface SandboxEmailAddress {
  id: string
  object: 'email_address'
  email_address: string
  reserved: boolean
  verification: SandboxVerification | null
  linked_to: { type: string; id: string }[]
  matches_sso_connection: boolean
  created_at: number
  updated_at: number
}

export interface SandboxPhoneNumber {
  id: string
  object: 'phone_number'
  phone_number: string
  reserved_for_second_factor: boolean
  default_second_factor: boolean
  reserved: boolean
  verification: SandboxVerification | null
  linked_to: { type: string; id: string }[]
  backup_codes: string[] | null
  created_at: number
  updated_at: number
}

export interface SandboxWallet {
  id: string
  object: 'web3_wallet'
  web3_wallet: string
  verification: SandboxVerification | null
  created_at: number
  updated_at: number
}

/** Clerk's user JSON. Times are Unix milliseconds on Clerk's clock. */
export interface SandboxUser {
  id: string
  object: 'user'
  external_id: string | null
  primary_email_address_id: string | null
  primary_phone_number_id: string | null
  primary_web3_wallet_id: string | null
  username: string | null
  first_name: string | null
  last_name: string | null
  locale?: string | null
  profile_image_url?: string
  image_url?: string
  has_image: boolean
  public_metadata: Record<string, unknown>
  private_metadata?: Record<string, unknown> | null
  unsafe_metadata?: Record<string, unknown>
  email_addresses: SandboxEmailAddress[]
  phone_numbers: SandboxPhoneNumber[]
  web3_wallets: SandboxWallet[]
  passkeys: unknown[]
  password_enabled: boolean
  two_factor_enabled: boolean
  totp_enabled: boolean
  backup_code_enabled: boolean
  mfa_enabled_at: number | null
  mfa_disabled_at: number | null
  password_last_updated_at?: number | null
  external_accounts: Record<string, unknown>[]
  saml_accounts: unknown[]
  enterprise_accounts: unknown[]
  organization_memberships?: unknown[]
  last_sign_in_at: number | null
  banned: boolean
  locked: boolean
  deprovisioned?: boolean
  lockout_expires_in_seconds: number | null
  verification_attempts_remaining: number | null
  updated_at: number
  created_at: number
  delete_self_enabled: boolean
  create_organization_enabled: boolean
  create_organizations_limit?: number | null
  last_active_at: number | null
  legal_accepted_at: number | null
  bypass_client_trust?: boolean
  scim?: Record<string, unknown> | null
}

/** Parts of a user. The three shorthands make verified identifiers of which the first is primary, as `POST /users` does. */
export type UserParts = Partial<SandboxUser> & {
  email_address?: string | readonly string[]
  phone_number?: string | readonly string[]
  web3_wallet?: string | readonly string[]
}
