// Clerk's clock as a pass hears it: the `Date` of every answer, held against this machine's clock, Postgres's and the
// versions in the answer. The rule: a `Date` that any of them contradicts settles nothing for the rest of the pass,
// because a grace measured with a wrong clock is no grace. Among clocks that agree, the most careful one counts.
import type { ClerkClient } from '../clerk/api.ts'
import type { ReadUser } from '../clerk/user.ts'
import type { PassClock } from './plan.ts'

/** The clocks that Clerk's is held against. Times are milliseconds. */
export interface Clocks {
  /** This machine's. */
  own(): number
  /** Postgres's. Throws what a query throws. */
  postgres(): Promise<number>
}

/** Clocks may differ by the grace, but by no less than this: a short grace asks for no better clocks than NTP gives. */
const toleranceMsMin = 60_000
/** So far the clocks of Clerk's own machines may differ: the one that dates an answer, the one that stamps a user. */
const versionToleranceMs = 60_000
/** A `Date` has whole seconds, rounded down. */
const dateRoundingMs = 999
/** The time of an answer of Postgres's lies between question and answer: a slow answer says too little. */
const postgresAnswerMsMax = 1000
const postgresQuestionsMax = 3

/** How far Postgres's clock is ahead of this machine's, ms: at least and at most. */
interface Lead {
  readonly least: number
  readonly most: number
}

/** Opens the clock of a pass. `note` receives what contradicts Clerk's clock. Throws what `clocks.postgres` throws. */
export async function openClerkClock(
  clocks: Clocks,
  graceMs: number,
  note: (text: string) => void,
): Promise<ClerkClock> {
  return new ClerkClock(clocks, await measureLead(clocks), graceMs, note)
}

async function measureLead({ own, postgres }: Clocks): Promise<Lead> {
  let closest: Lead = { least: Number.NEGATIVE_INFINITY, most: Number.POSITIVE_INFINITY }
  for (let question = 1; question <= postgresQuestionsMax; question++) {
    const asked = own()
    const told = await postgres()
    const lead = { least: told - own(), most: told - asked }
    if (lead.most - lead.least < closest.most - closest.least) closest = lead
    if (closest.most - closest.least <= postgresAnswerMsMax) break
  }
  return closest
}

/** Clerk's clock, as far as a pass has heard it. */
export class ClerkClock implements PassClock {
  readonly graceMs: number
  /** The earliest time that any of the clocks gave when the pass began, whether or not they agree. */
  earliest: number
  /** Why Clerk's clock settles nothing in this pass; undefined while it may. */
  doubt: string | undefined
  private readonly clocks: Clocks
  private readonly lead: Lead
  private readonly note: (text: string) => void
  private heard: { startedAt: number; latest: number } | undefined

  constructor(clocks: Clocks, lead: Lead, graceMs: number, note: (text: string) => void) {
    this.clocks = clocks
    this.lead = lead
    this.graceMs = graceMs
    this.note = note
    const own = clocks.own()
    this.earliest = Math.min(own, own + lead.least)
  }

  get startedAt(): number | undefined {
    return this.doubt === undefined ? this.heard?.startedAt : undefined
  }

  get latest(): number | undefined {
    return this.doubt === undefined ? this.heard?.latest : undefined
  }

  /** Takes note of an answer: its `Date`, and the newest version of the users in it. */
  hear(date: number | undefined, newestVersion: number | undefined): void {
    if (date === undefined) {
      // The pass then began at a time that no later `Date` can tell.
      if (this.heard === undefined) this.doubt ??= withoutDate
      return
    }
    const own = this.clocks.own()
    const readings: Readings = {
      date,
      own,
      postgres: { least: own + this.lead.least, most: own + this.lead.most },
      newestVersion,
    }
    const contradiction = contradictionOf(readings, Math.max(this.graceMs, toleranceMsMin))
    if (contradiction !== undefined && this.doubt === undefined) {
      this.doubt = `no row is deleted while clocks disagree: ${contradiction}`
      this.note(this.doubt)
    }
    if (this.heard === undefined) this.earliest = Math.min(this.earliest, date)
    this.heard = {
      startedAt: this.heard?.startedAt ?? Math.min(date, own, readings.postgres.least),
      latest: Math.max(this.heard?.latest ?? date, date, own, readings.postgres.most),
    }
  }
}

const withoutDate = 'no answer of Clerk had a Date header: without its clock no row is deleted'

interface Readings {
  readonly date: number
  readonly own: number
  readonly postgres: Lead
  readonly newestVersion: number | undefined
}

/** Which clock contradicts Clerk's `Date`, and by how much; undefined if none does. */
function contradictionOf(readings: Readings, toleranceMs: number): string | undefined {
  const { date, own, postgres, newestVersion } = readings
  const ownLead = leadOver(date, own, own)
  const postgresLead = leadOver(date, postgres.least, postgres.most)
  const isOff = (leadMs: number) => Math.abs(leadMs) > toleranceMs
  if (isOff(ownLead) && isOff(postgresLead)) {
    return `the Date of Clerk's answers is ${told(-ownLead)} this machine's clock and ${told(-postgresLead)} Postgres's`
  }
  if (isOff(ownLead)) {
    return `this machine's clock is ${told(ownLead)} the Date of Clerk's answers, with which Postgres's clock agrees`
  }
  if (isOff(postgresLead)) {
    return `Postgres's clock is ${told(postgresLead)} the Date of Clerk's answers, with which this machine's clock agrees`
  }
  const versionLead = newestVersion === undefined ? 0 : newestVersion - date - dateRoundingMs
  if (versionLead <= versionToleranceMs) return undefined
  return `a user's updated_at is ${told(versionLead)} the Date of the answer that it came in`
}

/** How far a clock that showed between `least` and `most` is ahead of the `Date`: of all it may be, the farthest off. */
function leadOver(date: number, least: number, most: number): number {
  const ahead = Math.max(0, most - date - dateRoundingMs)
  const behind = Math.min(0, least - date)
  return -behind > ahead ? behind : ahead
}

const told = (leadMs: number) =>
  `${Math.round(Math.abs(leadMs) / 1000)} s ${leadMs < 0 ? 'behind' : 'ahead of'}`

/** The client, with every answer heard by the clock. */
export function clientHeardBy(clock: ClerkClock, clerk: ClerkClient): ClerkClient {
  return {
    requests: clerk.requests,
    notes: () => clerk.notes(),
    close: () => clerk.close(),
    async listUsers(query) {
      const answer = await clerk.listUsers(query)
      clock.hear(answer.date, newestVersionOf(answer.users))
      return answer
    },
    async countUsers() {
      const answer = await clerk.countUsers()
      clock.hear(answer.date, undefined)
      return answer
    },
    async fetchUser(clerkId) {
      const answer = await clerk.fetchUser(clerkId)
      clock.hear(answer.date, answer.user === 'denied' ? undefined : newestVersionOf([answer.user]))
      return answer
    },
    async fetchInstance() {
      const answer = await clerk.fetchInstance()
      clock.hear(answer.date, undefined)
      return answer
    },
  }
}

function newestVersionOf(users: readonly ReadUser[]): number | undefined {
  let newest: number | undefined
  for (const user of users) {
    if (user.kind === 'unreadable' || user.updatedAt === undefined) continue
    if (newest === undefined || user.updatedAt > newest) newest = user.updatedAt
  }
  return newest
}
