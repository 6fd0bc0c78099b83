// The invented users: the same from the same seed, whole, harmless, and odd in every way that matters.
import { describe, expect, it } from 'vitest'
import { seedUsers } from '../../../src/dev/sandbox/seed.ts'

const NOW = Date.UTC(2026, 0, 1)
const REQUIRED =
  'id object username first_name last_name has_image primary_email_address_id primary_phone_number_id ' +
  'primary_web3_wallet_id password_enabled two_factor_enabled totp_enabled backup_code_enabled email_addresses ' +
  'phone_numbers web3_wallets passkeys external_accounts saml_accounts enterprise_accounts public_metadata external_id ' +
  'last_sign_in_at banned locked lockout_expires_in_seconds verification_attempts_remaining created_at updated_at ' +
  'delete_self_enabled create_organization_enabled last_active_at mfa_enabled_at mfa_disabled_at legal_accepted_at'

describe('a seed', () => {
  it('gives the same users again, and others for another seed', () => {
    expect(seedUsers({ count: 300, seed: 4 })).toEqual(seedUsers({ count: 300, seed: 4 }))
    expect(seedUsers({ count: 1, seed: 4 })).not.toEqual(seedUsers({ count: 1, seed: 5 }))
    expect(seedUsers({ count: 0 })).toEqual([])
  })

  it('gives whole users with ids of their own, none younger than its present', () => {
    const users = seedUsers({ count: 3217 })
    expect(new Set(users.map(({ id }) => id)).size).toBe(3217)
    for (const user of users) {
      expect(user.id).toMatch(/^user_[0-9A-Za-z]{27}$/)
      expect(REQUIRED.split(' ').filter((property) => !(property in user))).toEqual([])
      expect(Math.max(user.created_at, user.updated_at)).toBeLessThan(NOW)
      expect(user.updated_at).toBeGreaterThanOrEqual(user.created_at)
      const dangling = user.email_addresses.every(({ id }) => id !== user.primary_email_address_id)
      expect(dangling).toBe(user.primary_email_address_id === null)
    }
    const size = JSON.stringify(users).length / users.length
    expect(size).toBeGreaterThan(1500)
    expect(size).toBeLessThan(2500)
  })

  it('uses addresses of example.com and phone numbers of fiction alone', () => {
    for (const user of seedUsers({ count: 1000, seed: 2 })) {
      for (const email of user.email_addresses) expect(email.email_address).toMatch(/^[^@\s]+@example\.com$/i)
      for (const phone of user.phone_numbers) expect(phone.phone_number).toMatch(/^\+1\d{3}55501\d\d$/)
    }
  })

  it('holds every odd kind in two hundred users', () => {
    const users = seedUsers({ count: 200, seed: 3 })
    const names = users.map((user) => `${user.first_name} ${user.last_name}`)
    const kinds: Record<string, boolean> = {
      'no email': users.some((user) => user.email_addresses.length === 0 && user.first_name === 'No'),
      'primary second': users.some(
        (user) =>
          user.email_addresses[1]?.id === user.primary_email_address_id &&
          user.primary_email_address_id !== null,
      ),
      'none primary': users.some(
        (user) => user.email_addresses.length === 2 && user.primary_email_address_id === null,
      ),
      'phone only': users.some(
        (user) => user.phone_numbers.length === 1 && user.email_addresses.length === 0,
      ),
      'wallet only': users.some(
        (user) => user.web3_wallets.length === 1 && user.email_addresses.length === 0,
      ),
      'username only': users.some((user) => user.username !== null && user.email_addresses.length === 0),
      'no names': users.some((user) => user.first_name === null && user.last_name === null),
      arabic: names.some((name) => /\p{Script=Arabic}/u.test(name)),
      han: names.some((name) => /\p{Script=Han}/u.test(name)),
      devanagari: names.some((name) => /\p{Script=Devanagari}/u.test(name)),
      emoji: names.some((name) => /\p{Extended_Pictographic}/u.test(name)),
      combining: names.some((name) => name !== name.normalize('NFC')),
      long: names.some((name) => name.length > 1000),
      whitespace: users.some((user) => /^[\s\u200B]+$/.test(user.first_name ?? '')),
      banned: users.some((user) => user.banned),
      locked: users.some((user) => user.locked),
      'no image': users.some((user) => !('image_url' in user)),
      'an unverified address': users.some(
        (user) => user.email_addresses[0]?.verification?.status === 'unverified',
      ),
      'no metadata': users.some((user) => !('private_metadata' in user) && !('unsafe_metadata' in user)),
      'external account': users.some((user) => user.external_accounts.length > 0),
      ancient: users.some((user) => user.created_at < 0),
      tied: new Set(users.map((user) => user.created_at)).size < users.length,
    }
    expect(Object.keys(kinds).filter((kind) => !kinds[kind])).toEqual([])
  })

  it('has large groups of users with one creation time', () => {
    const sizes = new Map<number, number>()
    for (const user of seedUsers({ count: 5000 }))
      sizes.set(user.created_at, (sizes.get(user.created_at) ?? 0) + 1)
    expect(Math.max(...sizes.values())).toBeGreaterThan(40)
  })
})
