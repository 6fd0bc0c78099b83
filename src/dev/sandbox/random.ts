// Random numbers and ids from a seed: the same seed gives the same users, so that a failure can be repeated.

const base62Digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** 62⁵ fits into the 32 bits of one draw: five characters cost one number. */
const base62Power5 = 62 ** 5
/** Clerk's ids are KSUIDs: 32 bits of seconds since this date, then 128 random bits, in 27 base62 characters. */
const ksuidEpochSeconds = 1_400_000_000
/** How far one second moves the first six of the 27 characters. */
const ksuidStep = 2 ** 128 / 62 ** 21

/** A small deterministic generator (mulberry32). */
export interface Random {
  /** At least 0, below 1. */
  fraction(): number
  /** A whole number of at least 0, below `limit`. */
  below(limit: number): number
  pick<T>(items: readonly [T, ...T[]]): T
  /** True in that share of the calls. */
  chance(share: number): boolean
}

/** The generator of that seed. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0
  const fraction = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(fraction() * limit)
  return {
    fraction,
    below,
    pick: (items) => items[below(items.length)] ?? items[0],
    chance: (share) => fraction() < share,
  }
}

/** A seed made of text, for a generator that has to differ between two names. */
export function seedOf(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  }
  return hash >>> 0
}

function base62(value: number, length: number): string {
  let text = ''
  for (let rest = value; text.length < length; rest = Math.floor(rest / 62))
    text = base62Digits[rest % 62] + text
  return text
}

/**
 * A KSUID with that prefix (`user_`, `idn_`): ids sort by the second in which they were made, up to chance within it.
 * Times outside the range of a KSUID count as its nearest end.
 */
export function ksuid(prefix: string, ms: number, random: Random): string {
  const seconds = Math.min(Math.max(Math.floor(ms / 1000) - ksuidEpochSeconds, 0), 2 ** 32 - 1)
  let id = prefix + base62(Math.floor((seconds + random.fraction()) * ksuidStep), 6)
  for (let part = 0; part < 4; part += 1) id += base62(random.below(base62Power5), 5)
  return id + base62(random.below(62), 1)
}
