// The moment at which a process is met: what a seed decides, how it is waited for, and what the process is found doing.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../../src/dev/sandbox/random.ts'
import { type Recorder, type Session, type Stop, stops } from './recorder.ts'
import type { Process, World } from './world.ts'

export type KillPoint =
  /** When its so manyth request has come in, or so many ms later. */
  | { readonly kind: 'request'; readonly nth: number; readonly laterMs: number }
  /** So long after its start, or after its first request. */
  | { readonly kind: 'time'; readonly ms: number; readonly since: 'start' | 'first request' }
  /** In the so manyth statement, or the commit, that does this. */
  | { readonly kind: 'stop'; readonly stop: Stop; readonly nth: number }

export const phases = [
  'start-up',
  'before the lease',
  'taking the lease',
  'pages',
  'confirming deletions',
  'deletions',
  'closing',
  'after the end',
] as const
export type Phase = (typeof phases)[number]

/** Whether it died between transactions, within one, or while Postgres was committing one. */
export type Within = 'none' | 'open' | 'commit'

/** What a process was doing when it was met. */
export interface Found {
  readonly phase: Phase
  readonly within: Within
  /** Transactions that must not survive it. */
  readonly doomed: readonly string[]
}

/** About as many requests as a run makes, and as many ms as it takes. */
const requestsMax = 26
const runMs = 900
const startMs = 600
/** How often a run comes past, where it is more than once. */
const timesMet: Partial<Record<Stop, number>> = {
  'users written': 12,
  'page commits': 12,
  'ledger commits': 2,
}
const held = Object.keys(stops) as [Stop, ...Stop[]]

export function killPointFrom(random: Random): KillPoint {
  const share = random.fraction()
  if (share < 0.4) {
    const laterMs = random.chance(0.5) ? 0 : 1 + random.below(15)
    return { kind: 'request', nth: 1 + random.below(requestsMax), laterMs }
  }
  if (share < 0.5) return { kind: 'time', ms: random.below(runMs), since: 'first request' }
  if (share < 0.55) return { kind: 'time', ms: random.below(startMs), since: 'start' }
  const stop = random.pick(held)
  return { kind: 'stop', stop, nth: 1 + random.below(timesMet[stop] ?? 1) }
}

/** Waits for the moment. False if the process ended without it. */
export async function waitFor(moment: KillPoint, process: Process, world: World): Promise<boolean> {
  let isOver = false
  const ended = process.ended.then(() => {
    isOver = true
    return false
  })
  return Promise.race([ended, reached(moment, process, world, () => isOver)])
}

async function reached(
  moment: KillPoint,
  process: Process,
  world: World,
  isOver: () => boolean,
): Promise<boolean> {
  if (moment.kind === 'time') {
    const first = moment.since === 'start' ? 0 : 1
    while (process.requests.length < first && !isOver()) await sleep(1)
    await sleep(moment.ms)
  } else if (moment.kind === 'request') {
    while (process.requests.length < moment.nth && !isOver()) await sleep(1)
    if (moment.laterMs > 0) await sleep(moment.laterMs)
  } else {
    while (!isOver() && !(await world.recorder.sessions()).some((session) => session.isHeld)) await sleep(4)
  }
  return !isOver()
}

/** What the frozen process was doing. */
export async function look(
  moment: KillPoint | undefined,
  process: Process,
  recorder: Recorder,
): Promise<Found> {
  const sessions = await recorder.sessions()
  const run = await recorder.lastRunOf(process.number)
  const isCommitStop = moment?.kind === 'stop' && stops[moment.stop] === 'commit'
  const held = sessions.find((session) => session.isHeld)
  const within =
    held !== undefined && isCommitStop
      ? 'commit'
      : sessions.some((session) => session.isInTransaction)
        ? 'open'
        : 'none'
  return {
    phase: phaseOf(process, run?.status, sessions, held === undefined ? undefined : moment),
    within,
    doomed: sessions.filter((session) => isDoomed(session, isCommitStop)).flatMap(({ xid }) => xid ?? []),
  }
}

/** Nobody is left to commit it: its statement is over, or stands still in the middle. */
function isDoomed(session: Session, isCommitStop: boolean): boolean {
  return session.state.startsWith('idle in transaction') || (session.isHeld && !isCommitStop)
}

function phaseOf(
  process: Process,
  status: string | undefined,
  sessions: readonly Session[],
  moment: KillPoint | undefined,
): Phase {
  const query = sessions
    .filter((session) => session.isInTransaction || session.isHeld)
    .map((session) => session.query)
    .join('\n')
  const stop = moment?.kind === 'stop' ? moment.stop : undefined
  const last = process.requests.at(-1)
  if (stop === 'lease taken' || (stop === 'ledger commits' && status !== 'running')) return 'taking the lease'
  if (stop === 'run closed' || stop === 'progress saved' || stop === 'ledger commits') return 'closing'
  if (/finished_at = now\(\),\s+counts|set watermark|delete from clerk_sync/.test(query)) return 'closing'
  if (stop === 'users deleted' || stop?.startsWith('tombstones')) return 'deletions'
  if (/insert into clerk_sync.tombstones/.test(query)) return 'deletions'
  if (last === undefined) return 'start-up'
  if (status === undefined) return 'before the lease'
  if (status !== 'running') return process.port === undefined ? 'after the end' : 'before the lease'
  const isAboutIds = last.endpoint === 'user' || last.query.has('user_id')
  if (!isAboutIds) return 'pages'
  return sessions.some((session) => /pg_advisory_xact_lock\(|statement_timeout/.test(session.query))
    ? 'deletions'
    : 'confirming deletions'
}
