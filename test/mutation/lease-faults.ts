// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is looked for has placeholders
// Faults in the lease, the history of runs, and how the lease is kept.
import { faultsIn } from './fault.ts'

const runs = faultsIn(
  'db/lease.ts',
  ['test/db/ledger.test.ts'],
  [
    ['a holder is gone after 24 seconds of silence', "'30 seconds'", "'24 seconds'"],
    ['a holder is gone only after 32 seconds of silence', "'30 seconds'", "'32 seconds'"],
    [
      'a silent holder keeps the lease',
      '-- a silent holder has died … heartbeat_at',
      'false and heartbeat_at',
    ],
    ['a run that has ended is marked abandoned', "-- a silent holder has died … status = 'running' and", ''],
    ['an abandoned run never ends', "'abandoned', finished_at = now()", "'abandoned'"],
    [
      'the holder may be a run that has ended',
      '-- only runs that need it',
      'where ${needsLease} order by id',
    ],
    [
      'the holder may be a run about one user',
      '-- only runs that need it',
      "where status = 'running' order by id",
    ],
    ['a run about one user holds the lease', 'isLeaseHeld … and ${needsLease}', ''],
    ['a run about one user ends a silent holder', "run.pass === 'user' ? sql`pass = 'user'` :", ''],
    [
      'a crashed run about one user runs for ever',
      "run.pass === 'user' ? sql`pass = 'user'` : sql`true`",
      "sql`pass <> 'user'`",
    ],
    ['a heartbeat does not move', 'set heartbeat_at = now()', 'set heartbeat_at = heartbeat_at'],
    ['a heartbeat revives a lost lease', "-- a lost lease stays lost … and status = 'running'", ''],
    ['a heartbeat beats for whoever holds the lease', '-- a lost lease stays lost … id = ${runId} and', ''],
  ],
)

const runsHistory = faultsIn(
  'db/runs.ts',
  ['test/db/ledger.test.ts'],
  [
    ['who comes second fails', 'on conflict do nothing', ''],
    ['an approval is forgotten', '${run.approveDeletes}::integer', 'null::integer'],
    ['a lost run overwrites its end', '-- the first end stands … and status = ${statusBefore}', ''],
    ['a run ends whoever holds the lease', '-- the first end stands … id = ${runId} and', ''],
    ['a run keeps the pass it was asked for', 'set pass = ${record.pass},', 'set'],
    [
      'a finished run has no end',
      '${record.status}, finished_at = now()',
      '${record.status}, finished_at = null',
    ],
    ['the rejected are cut at 99', 'record.rejected.slice(0, 100)', 'record.rejected.slice(0, 99)'],
    ['the withheld are cut at 99', 'record.withheld.slice(0, 100)', 'record.withheld.slice(0, 99)'],
    ['the rejected are kept whole', 'record.rejected.slice(0, 100)', 'record.rejected'],
    ['runs are forgotten after 28 days', "'30 days'", "'28 days'"],
    ['runs are kept for 40 days', "'30 days'", "'41 days'"],
    ['the newest run is forgotten', '-- the newest run stays', ''],
    ['the history begins with the oldest', 'order by id desc limit', 'order by id limit'],
    ['the history has no limit', 'limit ${limit}', ''],
  ],
)

const runsCount = faultsIn(
  'db/deletion-count.ts',
  ['test/db/ledger.test.ts'],
  [
    ['the guard’s hour has 58 minutes', "'1 hour'", "'58 minutes'"],
    ['the guard’s hour has 62 minutes', "'1 hour'", "'62 minutes'"],
    ['an approved deletion counts', '-- approved rows are not counted', ''],
    ['only approved deletions count', '-- approved rows are not counted … is null', 'is not null'],
    ['the guard counts runs, not rows', 'coalesce(sum(deleted), 0)', 'count(nullif(deleted, 0))'],
  ],
)

const ticks = faultsIn(
  'db/lease.ts',
  ['test/db/ticks.test.ts'],
  [
    ['each worker runs the tick', 'tick !== undefined && (await hasRun(tx, tick))', 'false'],
    [
      'a silent run is under way',
      'isAlive … and heartbeat_at between now() - ${silentAfter} and ${soon}',
      '',
    ],
    ['a run that has ended is under way', "isAlive … status = 'running' and", ''],
    ['a tick is taken by another pass', "pass = any(${arrayParameter(tick.passes, 'text')})", 'true'],
    ['a tick is taken by the command line', '-- only what workers start', ''],
    [
      'a tick is not taken by the run at the start',
      "trigger in ('schedule', 'start')",
      "trigger = 'schedule'",
    ],
    ['a tick is taken by what failed', '-- what failed does not count', 'and true'],
    ['a tick is not taken by a partial run', "-- what failed does not count … 'partial',", ''],
    ['a tick is not taken by a run that withheld', "-- what failed does not count … , 'withheld'", ''],
    ['a tick is not taken by a run under way', '-- what failed does not count … or ${isAlive}', ''],
    ['a tick is taken by any run before it', '-- earlier runs took earlier ticks', 'and true'],
    ['a tick is a thousandth as long', "-- earlier runs took earlier ticks … '1 second'", "'1 millisecond'"],
  ],
)

const ticksHistory = faultsIn(
  'db/runs.ts',
  ['test/db/ticks.test.ts'],
  [
    ['the age is any pass’s', "-- only passes that ended … pass = 'full' and", ''],
    [
      'the age is of a full pass that failed',
      "-- only passes that ended … and status in ('succeeded', 'partial', 'withheld')",
      '',
    ],
    ['the age is of the first full pass', 'max(started_at)', 'min(started_at)'],
  ],
)

const numbers = faultsIn(
  'db/lease.ts',
  ['test/db/ledger.test.ts', 'test/db/ticks.test.ts'],
  [
    ['a number that is taken looks like a lease', 'hasFreeNumber: isRepeat', 'hasFreeNumber: false'],
    ['a late run uses up a number', 'if (holder !== undefined) return { holder }', ''],
    [
      'a run of the future is this tick’s',
      '-- future runs have another clock … and started_at <= ${soon}',
      '',
    ],
    ['a run has been under way for less than nothing', 'case when started_at <= ${soon}', 'case when true'],
  ],
)

const numbersHistory = faultsIn(
  'db/runs.ts',
  ['test/db/ledger.test.ts', 'test/db/ticks.test.ts'],
  [
    ['the number after the newest is the newest', 'coalesce(max(id), 0) + 1', 'coalesce(max(id), 0)'],
    ['a run starts before the one before has ended', 'select clock_timestamp() as at', 'select now() as at'],
    [
      'an early end always takes the sequence’s number',
      'hasFreeNumber: tryNumber > 1',
      'hasFreeNumber: false',
    ],
    ['the age is of a run of the future', '-- only passes that ended … and started_at <= ${soon}', ''],
  ],
)

const clock = faultsIn(
  'db/clock.ts',
  ['test/db/ticks.test.ts'],
  [
    [
      'Postgres’s clock is told in seconds',
      '(extract(epoch from now()) * 1000)',
      'extract(epoch from now())',
    ],
    ['a heartbeat of the future lives on', "(status = 'running' and heartbeat_at > ${soon})", 'false'],
    ['a deletion of the future counts until then', 'or deleted_at > ${soon}', ''],
    ['a tombstone of the future stays young until then', 'where deleted_at > ${soon}', 'where false'],
    ['the past is brought to now', 'least(heartbeat_at, now())', 'now()'],
  ],
)

const deletionLock = faultsIn(
  'db/write-transaction.ts',
  ['test/db/users.test.ts'],
  [
    ['there is no fence', "if (options.deletionLock !== 'none') await", 'if (false) await'],
    [
      'an update takes the deletion lock',
      "if (options.deletionLock !== 'none') await takeDeletionLock(tx, options.deletionLock)",
      "await takeDeletionLock(tx, options.deletionLock === 'exclusive' ? 'exclusive' : 'shared')",
    ],
    [
      'a deletion shares the deletion lock',
      "mode === 'shared' ? 'pg_advisory_xact_lock_shared' : 'pg_advisory_xact_lock'",
      "'pg_advisory_xact_lock_shared'",
    ],
    [
      'an insert takes the deletion lock alone',
      "mode === 'shared' ? 'pg_advisory_xact_lock_shared' : 'pg_advisory_xact_lock'",
      "'pg_advisory_xact_lock'",
    ],
    [
      'the deletion lock outlasts the transaction',
      "'pg_advisory_xact_lock_shared' : 'pg_advisory_xact_lock'",
      "'pg_advisory_lock_shared' : 'pg_advisory_lock'",
    ],
    [
      'a deletion lock that is not to be had looks like a row',
      'throw error instanceof WriteError ? new',
      'throw false ? new',
    ],
    ['a write waits for locks without end', "raw(`'2s'`)", "raw(`'0'`)"],
    ['a write waits for locks for a minute', "raw(`'2s'`)", "raw(`'60s'`)"],
    ['a write hardly waits for locks', "raw(`'2s'`)", "raw(`'200ms'`)"],
    [
      'the deletion lock is waited for without end',
      'await query(tx, sql`set local lock_timeout = ${lockTimeout}`)',
      "if (options.deletionLock !== 'none') await takeDeletionLock(tx, options.deletionLock)\n      await query(tx, sql`set local lock_timeout = ${lockTimeout}`)",
    ],
    ['the lock timeout outlasts the transaction', 'set local lock_timeout', 'set lock_timeout'],
    [
      'the statement timeout outlasts the transaction',
      'set local statement_timeout',
      'set statement_timeout',
    ],
    [
      'deletions may take for ever',
      "if (options.deletionLock === 'exclusive') await query",
      'if (false) await query',
    ],
    [
      'every write has the deletions’ time limit',
      "if (options.deletionLock === 'exclusive') await query",
      'if (true) await query',
    ],
    ['deletions have ten times as long', "deleteMsMax}ms'", "deleteMsMax}0ms'"],
  ],
)

const look = faultsIn(
  'db/write-transaction.ts',
  ['test/db/ledger.test.ts'],
  [
    [
      'the lease is not looked at',
      'if (options.runId !== null) await requireLease',
      'if (false) await requireLease',
    ],
    ['any run that ever was holds the lease', "requireLease … and status = 'running'", ''],
    ['whoever runs holds the lease', 'requireLease … id = ${runId} and', ''],
    ['the look at the lease locks it', "requireLease … 'running'", "'running' for update"],
  ],
)

const deleted = faultsIn(
  'db/deletion-count.ts',
  ['test/db/users.test.ts'],
  [
    ['only a run’s last deletions count', 'deleted + ${deleted}', '${deleted}'],
    ['deletions are never recent', ', deleted_at = clock_timestamp()', ''],
    [
      'a run that lost its lease deletes after all',
      "-- a lost lease deletes nothing … and status = 'running'",
      '',
    ],
    [
      'what cannot be counted is deleted',
      'countDeletions … if (rows.length === 0) throw leaseLost(runId)',
      '',
    ],
  ],
)

const keeping = faultsIn(
  'sync/lease.ts',
  ['test/sync/lease.test.ts'],
  [
    ['a heart beats once a minute', 'heartbeatIntervalMs = 5000', 'heartbeatIntervalMs = 60_000'],
    ['a lost lease ends nothing', 'if (!isOurs && !isReleased) stop', 'if (false) stop'],
    [
      'a beat that does not get through ends the run',
      "log.warn({ runId, err: error }, 'a heartbeat",
      "stop.abort(error)\n      log.warn({ runId, err: error }, 'a heartbeat",
    ],
    ['a heart beats on after the run', 'clearInterval(timer)', ''],
    [
      'a beat waits for the one before',
      'setInterval(beat, heartbeatIntervalMs)',
      '((last = Promise.resolve()) => setInterval(() => { last = last.then(beat) }, heartbeatIntervalMs))()',
    ],
  ],
)

export const leaseFaults = [
  ...runs,
  ...runsHistory,
  ...runsCount,
  ...ticks,
  ...ticksHistory,
  ...numbers,
  ...numbersHistory,
  ...clock,
  ...deletionLock,
  ...look,
  ...deleted,
  ...keeping,
]
