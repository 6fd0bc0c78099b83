// What a worker on a terminal says: the log's records as lines for a person. Nothing is said that the log does not have, but
// for when the next passes are.
import { type Report, rejectionLines, summaryOf } from '../sync/report.ts'
import { createCron } from '../worker/cron.ts'
import type { Schedule } from '../worker/schedules.ts'

/** A record of the log: level, message and facts. */
export type LogRecord = Readonly<Record<string, unknown>>

/** More named by one run scrolls everything else away; `status` has them. */
const rejectionsShown = 20

type Say = (record: LogRecord) => readonly string[]

/** Returns what turns a record into lines; none where it says nothing new. `now` is this machine's clock. */
export function createWorkerText(
  schedule: Schedule,
  now = () => new Date(),
): (record: LogRecord) => readonly string[] {
  const nextPasses = () => {
    const passes = nextOf(schedule).map(({ pass, at }) => `${pass} at ${clock(at)} (${until(at, now())})`)
    return passes.length === 0
      ? 'both schedules are off: no pass runs by itself'
      : `next passes: ${passes.join(', ')}`
  }
  const nextTime = () => {
    const [next] = nextOf(schedule).sort((a, b) => a.at.getTime() - b.at.getTime())
    return next === undefined ? '' : `; next ${clock(next.at)}`
  }
  let rejected: { clerkId: string; reason: string }[] = []
  const endLines = (record: LogRecord): string[] => {
    const report = record.report as Report
    const named = rejectionLines(rejected, rejectionsShown)
    rejected = []
    const { notes, runId, error } = report
    return [
      ...named,
      ...notes.map((note) => `note: ${note}`),
      `${numbered(summaryOf(report), runId)}${nextTime()}`,
      ...(error === null
        ? []
        : [`error: ${error.message}`, ...(error.hint === undefined ? [] : [error.hint])]),
    ]
  }
  const says: Readonly<Record<string, Say>> = {
    listening: ({ url, paths }) => [
      `listening on ${url}`,
      ...(paths as string[]).slice(0, 1).map((path) => `webhook endpoint: POST ${url}${path}`),
    ],
    'the table is ready': ({ instanceId }) => [`the table is ready, for Clerk instance ${instanceId}`],
    'schedules started': () => [nextPasses()],
    'migrations applied': ({ applied }) => [`${applied} migrations applied`],
    'embedded Postgres, as long as this command runs': () => [],
    'run started': ({ pass, runId }) => (pass === 'full' ? [`full pass #${runId} begins`] : []),
    'user rejected'({ clerkId, reason }) {
      rejected.push({ clerkId: String(clerkId), reason: String(reason) })
      return []
    },
    'run finished': endLines,
    'run failed': endLines,
    'run skipped': ({ report }) => [
      `${(report as Report).pass} pass skipped: ${(report as Report).error?.message ?? 'another run is under way'}`,
    ],
    waiting: ({ waitingFor, seconds }) => [`waiting for ${waitingFor}, ${seconds} s so far`],
    webhook: (record) => [webhookLine(record)],
    stopping: ({ signal }) => [`stopping, after ${signal}; what is under way may end first`],
  }
  return (record) => {
    const lines = (says[String(record.msg)] ?? otherLines)(record)
    const time = `${clock(now(), true)} `
    return lines.map((line, index) => (index === 0 ? time : ' '.repeat(time.length)) + line)
  }
}

/** When each schedule is due next. */
function nextOf(schedule: Schedule) {
  return (['incremental', 'full'] as const).flatMap((pass) => {
    const expression = schedule[pass]
    return expression === undefined ? [] : [{ pass, at: createCron(expression, schedule.timezone).next() }]
  })
}

const numbered = (summary: string, runId: number | null) =>
  runId === null ? summary : summary.replace(' pass', ` pass #${runId}`)

function webhookLine({ status, result, reason, clerkId }: LogRecord): string {
  const about = clerkId === undefined ? '' : ` ${clerkId}`
  const because = reason === undefined ? '' : `: ${reason}`
  return status === 200
    ? `webhook${about} ${result}${because}`
    : `warning: webhook${about} answered with ${status}${because}`
}

const levelWords: Readonly<Record<string, string>> = { warn: 'warning: ', error: 'error: ', fatal: 'error: ' }

/** A record without words of its own: its message, the error with the way out, and the other facts. */
function otherLines({ level, msg, err, time: _time, ...facts }: LogRecord): string[] {
  const error = err as { message?: string; hint?: string; code?: string } | undefined
  const cause = error === undefined ? '' : `: ${error.message ?? error.code ?? 'an unknown failure'}`
  const told = Object.entries(facts).filter(([, value]) => typeof value !== 'object')
  const fields = told.length === 0 ? '' : ` (${told.map(([name, value]) => `${name} ${value}`).join(', ')})`
  const line = `${levelWords[String(level)] ?? ''}${msg}${cause}${fields}`
  return error?.hint === undefined ? [line] : [line, error.hint]
}

/** The local time, to the minute or the second. */
function clock(date: Date, hasSeconds = false): string {
  return date.toLocaleTimeString('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    ...(hasSeconds ? { second: '2-digit' } : {}),
    hourCycle: 'h23',
  })
}

function until(date: Date, now: Date): string {
  const minutes = Math.max(0, Math.round((date.getTime() - now.getTime()) / 60_000))
  if (minutes < 1) return 'in less than a minute'
  if (minutes < 120) return `in ${minutes} min`
  return minutes < 48 * 60 ? `in ${Math.round(minutes / 60)} h` : `in ${Math.round(minutes / 1440)} d`
}
