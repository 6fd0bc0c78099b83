// The status as a person reads it: the last success and its age first, then what is open, then the runs. Times are local,
// and the zone is said. Pure.
import type { LastSuccess, OpenItem } from '../db/history.ts'
import type { PastRun } from '../db/runs.ts'
import { reasonOf } from '../sync/deletion-policy.ts'
import { countNames } from '../sync/report.ts'
import { type Withheld, withheldLines } from './withheld.ts'

export interface Status {
  readonly instanceId: string | null
  readonly rows: number
  readonly lastSuccess: LastSuccess | null
  readonly open: readonly OpenItem[]
  /** Why deletions wait for an operator; null if they do not. */
  readonly deletionHold: string | null
  /** The withheld deletions by name; null if there are none. */
  readonly withheld: Withheld | null
  readonly runs: readonly PastRun[]
}

/** How many rejected users of a run are named. */
const rejectionsShown = 5

/** The lines; `now` is this machine's clock. */
export function statusLines(status: Status, now: Date): string[] {
  const { instanceId, rows, lastSuccess, open, deletionHold, withheld, runs } = status
  return [
    lastSuccess === null
      ? 'no run has succeeded yet: npm run sync'
      : `last success: ${age(lastSuccess.ageSeconds)}, the ${lastSuccess.pass} pass #${lastSuccess.runId}`,
    ...open.map((item) => `open: ${openText(item)}, since ${local(item.since)} (${age(item.ageSeconds)})`),
    ...(deletionHold === null
      ? []
      : [`open: deletions wait for an operator's approval: ${reasonOf(deletionHold)}`]),
    `${number(rows)} rows, ${instanceId === null ? 'not bound to a Clerk instance yet' : `Clerk instance ${instanceId}`}`,
    ...(withheld === null ? [] : ['', ...withheldLines(withheld, isKeptByPolicy(runs))]),
    ...(runs.length === 0 ? [] : ['', `the last runs, newest first (times are ${zone(now)}):`]),
    ...folded(runs).flatMap((group) => (group.length > 1 ? [quietLine(group)] : group.flatMap(runLines))),
  ]
}

/** True if it was not the guard that withheld: such a run has succeeded. */
const isKeptByPolicy = (runs: readonly PastRun[]) =>
  runs.find((run) => (run.counts?.withheld ?? 0) > 0)?.status === 'succeeded'

const openTexts: Record<OpenItem['what'], (count: number) => string> = {
  failing: (count) => `${count === 1 ? 'the last run' : `the last ${number(count)} runs`} failed`,
  withheld: (count) =>
    `${number(count)} ${count === 1 ? 'deletion' : 'deletions'} withheld (look: npm run sync -- --dry-run)`,
  rejected: (count) => `${number(count)} ${count === 1 ? 'user' : 'users'} rejected`,
  pending: (count) => `${number(count)} pending`,
}

const openText = ({ what, count }: OpenItem) => openTexts[what](count)

/** Neighbouring incremental passes that found nothing are one group; every other run is one by itself. */
function folded(runs: readonly PastRun[]): PastRun[][] {
  const groups: PastRun[][] = []
  for (const run of runs) {
    const last = groups.at(-1)
    if (last !== undefined && isQuiet(run) && last.every(isQuiet)) last.push(run)
    else groups.push([run])
  }
  return groups
}

function isQuiet(run: PastRun): boolean {
  const { created = 0, updated = 0, deleted = 0 } = run.counts ?? {}
  return (
    run.pass === 'incremental' &&
    run.status === 'succeeded' &&
    created + updated + deleted === 0 &&
    (run.notes ?? []).length === 0
  )
}

function quietLine(group: readonly PastRun[]): string {
  const [newest, oldest] = [group[0], group.at(-1)]
  return `  #${oldest?.runId} to #${newest?.runId}  ${local(oldest?.startedAt)} to ${local(newest?.startedAt)}  ${group.length} incremental passes: nothing had changed`
}

function runLines(run: PastRun): string[] {
  const counts = countNames
    .filter((name) => name === 'seen' || (run.counts?.[name] ?? 0) > 0)
    .flatMap((name) => (run.counts === null ? [] : `${number(run.counts[name] ?? 0)} ${name}`))
  const took = run.finishedAt === null ? '' : ` in ${duration(run.startedAt, run.finishedAt)}`
  const rejected = run.rejected ?? []
  return [
    `  #${run.runId}  ${local(run.startedAt)}  ${run.pass} pass by ${run.trigger}: ${run.status}${took}`,
    ...(counts.length === 0 ? [] : [`      ${counts.join(', ')}`]),
    ...(run.error === null ? [] : [`      ${run.error.message}`]),
    ...(run.notes ?? []).map((note) => `      ${note}`),
    ...rejected.slice(0, rejectionsShown).map((each) => `      rejected ${each.clerkId}: ${each.reason}`),
    ...(rejected.length > rejectionsShown
      ? [`      … and ${number(rejected.length - rejectionsShown)} more (--json shows up to 100)`]
      : []),
  ]
}

const number = (count: number) => count.toLocaleString('en')

const localTime = new Intl.DateTimeFormat('en-GB', {
  day: '2-digit',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
})

const local = (time: string | undefined) =>
  time === undefined ? '' : localTime.format(new Date(time)).replace(',', '')

function zone(now: Date): string {
  const parts = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' }).formatToParts(now)
  return parts.find(({ type }) => type === 'timeZoneName')?.value ?? 'local'
}

/** `3 min ago`: one unit, rounded down. */
function age(seconds: number): string {
  const units = [
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'min'],
  ] as const
  const [size, unit] = units.find(([each]) => seconds >= each) ?? [1, 's']
  return `${Math.floor(seconds / size)} ${unit} ago`
}

function duration(start: string, end: string): string {
  const seconds = Math.max(0, (Date.parse(end) - Date.parse(start)) / 1000)
  return seconds < 60
    ? `${seconds.toFixed(1)} s`
    : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`
}
