// Users for properties: mostly as Clerk sends them, with texts as unkind as JSON can carry them, now and then anything else.
import fc from 'fast-check'

/** Any code point; fast-check's own `binary` takes a second to make. */
const character = fc.oneof(fc.nat(0xff), fc.nat(0x10ffff)).map((point) => String.fromCodePoint(point))
/** Text as unkind as JSON can carry it. */
const text = fc.oneof(
  fc.string({ unit: character, maxLength: 20 }),
  fc
    .array(fc.constantFrom('\u0000', '\uD83D', '\uDE00', ' ', '\u00A0', 'é', '\\', '"', '{', ',', 'NULL'), {
      maxLength: 6,
    })
    .map((parts) => parts.join('')),
)
const time = fc.oneof(
  fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 }),
  fc.double({ min: -1e15, max: 1e15, noNaN: true }),
  fc.constantFrom(0, -0, 253_402_300_799_999, -62_135_596_800_000),
)
const odd = fc.oneof(fc.jsonValue(), fc.constant(undefined))
/** Mostly what it should be, now and then anything else. */
const mostly = <T>(good: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 30, arbitrary: good }, { weight: 1, arbitrary: odd })
const identifier = fc.constantFrom('idn_1', 'idn_2', 'idn_3')
const identifiersOf = (key: string) => ({
  list: mostly(
    fc.array(mostly(fc.record({ id: mostly(identifier), [key]: mostly(text) })), { maxLength: 3 }),
  ),
  primary: mostly(fc.option(identifier)),
})
const emails = identifiersOf('email_address')
const phones = identifiersOf('phone_number')
const wallets = identifiersOf('web3_wallet')
/** A user whose id can be read; whatever else it has may be odd. */
export const almostUser = fc.record(
  {
    id: fc
      .string({ unit: fc.constantFrom(...'abzAZ09'), minLength: 1, maxLength: 27 })
      .map((end) => `user_${end}`),
    created_at: mostly(time),
    updated_at: mostly(time),
    first_name: mostly(fc.option(text)),
    last_name: mostly(fc.option(text)),
    username: mostly(fc.option(text)),
    image_url: mostly(fc.option(text)),
    email_addresses: emails.list,
    primary_email_address_id: emails.primary,
    phone_numbers: phones.list,
    primary_phone_number_id: phones.primary,
    web3_wallets: wallets.list,
    primary_web3_wallet_id: wallets.primary,
  },
  { noNullPrototype: true },
)
