// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is looked for has placeholders
// Faults in the lease, the history of runs, and how the lease is kept.
import { faultsIn } from './fault.ts'

const isAlive = "(status = 'running' and heartbeat_at between now() - ${silentAfter} and ${soon})"

const runs = faultsIn(
  'db/ledger.ts',
  ['test/db/ledger.test.ts'],
  [
    ['a holder is gone after 24 seconds of silence', "interval '30 seconds'", "interval '24 seconds'"],
    ['a holder is gone only after 32 seconds of silence', "interval '30 seconds'", "interval '32 seconds'"],
    [
      'a silent holder keeps the lease',
      "'running' and heartbeat_at < now()",
      "'running' and false and heartbeat_at < now()",
    ],
    [
      'a run that has ended is marked abandoned',
      "where status = 'running' and heartbeat_at < now()",
      'where heartbeat_at < now()',
    ],
    ['an abandoned run never ends', "'abandoned', finished_at = now()", "'abandoned'"],
    ['who comes second fails', 'on conflict do nothing\n', '\n'],
    ['an approval is forgotten', '${run.approveDeletes}::integer', 'null::integer'],
    [
      'the holder may be a run that has ended',
      "from clerk_sync.runs where status = 'running' and ${needsLease}`,\n  )\n\n/**",
      'from clerk_sync.runs where ${needsLease} order by id`,\n  )\n  // It',
    ],
    [
      'the holder may be a run about one user',
      "where status = 'running' and ${needsLease}`,\n  )\n\n/**",
      "where status = 'running' order by id`,\n  )\n  // It",
    ],
    ['a run about one user holds the lease', '${isAlive} and ${needsLease}`', '${isAlive}`'],
    [
      'a run about one user ends a silent holder',
      "run.pass === 'user' ? sql`pass = 'user'` : sql`true`",
      'sql`true`',
    ],
    [
      'a crashed run about one user runs for ever',
      "run.pass === 'user' ? sql`pass = 'user'` : sql`true`",
      "sql`pass <> 'user'`",
    ],
    ['a heartbeat does not move', 'set heartbeat_at = now() where', 'set heartbeat_at = heartbeat_at where'],
    [
      'a heartbeat revives a lost lease',
      "where id = ${runId} and status = 'running' returning id`,\n  )\n  return rows.length > 0\n}\n\n/** Writes",
      'where id = ${runId} returning id`,\n  )\n  return rows.length > 0\n}\n\n/** Writes',
    ],
    [
      'a heartbeat beats for whoever holds the lease',
      'heartbeat_at = now() where id = ${runId} and status',
      'heartbeat_at = now() where status',
    ],
    [
      'a lost run overwrites its end',
      'error)}::jsonb\n        where id = ${runId} and status = ${statusBefore}',
      'error)}::jsonb\n        where id = ${runId}',
    ],
    [
      'a run ends whoever holds the lease',
      'error)}::jsonb\n        where id = ${runId} and status',
      'error)}::jsonb\n        where status',
    ],
    ['a run keeps the pass it was asked for', 'set pass = ${record.pass}, status', 'set status'],
    [
      'a finished run has no end',
      'status = ${record.status}, finished_at = now()',
      'status = ${record.status}, finished_at = null',
    ],
    ['the rejected are cut at 99', 'record.rejected.slice(0, 100)', 'record.rejected.slice(0, 99)'],
    ['the withheld are cut at 99', 'record.withheld.slice(0, 100)', 'record.withheld.slice(0, 99)'],
    ['the rejected are kept whole', 'record.rejected.slice(0, 100)', 'record.rejected'],
    [
      'runs are forgotten after 28 days',
      "started_at < now() - interval '30 days'",
      "started_at < now() - interval '28 days'",
    ],
    [
      'runs are kept for 40 days',
      "started_at < now() - interval '30 days'",
      "started_at < now() - interval '41 days'",
    ],
    ['the newest run is forgotten', '\n        and id < (select max(id) from clerk_sync.runs)', ''],
    ['the guard’s hour has 58 minutes', "interval '1 hour'", "interval '58 minutes'"],
    ['the guard’s hour has 62 minutes', "interval '1 hour'", "interval '62 minutes'"],
    ['an approved deletion counts', ' and approve_deletes is null', ''],
    ['only approved deletions count', 'approve_deletes is null', 'approve_deletes is not null'],
    ['the guard counts runs, not rows', 'coalesce(sum(deleted), 0)', 'count(nullif(deleted, 0))'],
    ['the history begins with the oldest', 'order by id desc limit', 'order by id limit'],
    ['the history has no limit', ' limit ${limit}`', '`'],
  ],
)

const ticks = faultsIn(
  'db/ledger.ts',
  ['test/db/ticks.test.ts'],
  [
    ['each worker runs the tick', 'if (tick !== undefined && (await hasRun(tx, tick)))', 'if (false)'],
    ['a silent run is under way', isAlive, "(status = 'running')"],
    [
      'a run that has ended is under way',
      isAlive,
      '(heartbeat_at between now() - ${silentAfter} and ${soon})',
    ],
    ['a tick is taken by another pass', "pass = any(${arrayParameter(tick.passes, 'text')}) and", ''],
    ['a tick is taken by the command line', " and trigger in ('schedule', 'start')", ''],
    [
      'a tick is not taken by the run at the start',
      "trigger in ('schedule', 'start')",
      "trigger = 'schedule'",
    ],
    [
      'a tick is taken by what failed',
      "(status in ('succeeded', 'partial', 'withheld') or ${isAlive})",
      'true',
    ],
    [
      'a tick is not taken by a partial run',
      "and (status in ('succeeded', 'partial', 'withheld')",
      "and (status in ('succeeded', 'withheld')",
    ],
    [
      'a tick is not taken by a run that withheld',
      "and (status in ('succeeded', 'partial', 'withheld')",
      "and (status in ('succeeded', 'partial')",
    ],
    ['a tick is not taken by a run under way', ' or ${isAlive})', ')'],
    [
      'a tick is taken by any run before it',
      "started_at > now() - ${tick.seconds}::float8 * interval '1 second'",
      'true',
    ],
    [
      'a tick is a thousandth as long',
      "${tick.seconds}::float8 * interval '1 second'",
      "${tick.seconds}::float8 * interval '1 millisecond'",
    ],
    ['the age is any pass’s', "where pass = 'full' and status", 'where status'],
    [
      'the age is of a full pass that failed',
      "pass = 'full' and status in ('succeeded', 'partial', 'withheld')",
      "pass = 'full'",
    ],
    ['the age is of the first full pass', 'now() - max(started_at)', 'now() - min(started_at)'],
  ],
)

const numbers = faultsIn(
  'db/ledger.ts',
  ['test/db/ledger.test.ts', 'test/db/ticks.test.ts'],
  [
    ['a number that is taken looks like a lease', 'hasFreeNumber: isRepeat', 'hasFreeNumber: false'],
    ['the number after the newest is the newest', 'coalesce(max(id), 0) + 1', 'coalesce(max(id), 0)'],
    ['a run starts before the one before has ended', 'select clock_timestamp() as at', 'select now() as at'],
    ['a late run uses up a number', 'if (holder !== undefined) return { holder }', ''],
    [
      'an early end always takes the sequence’s number',
      'hasFreeNumber: tryNumber > 1',
      'hasFreeNumber: false',
    ],
    ['a run of the future is this tick’s', '\n          and started_at <= ${soon})` // what', ')` // what'],
    ['the age is of a run of the future', ' and started_at <= ${soon}`,', '`,'],
    ['a run has been under way for less than nothing', 'case when started_at <= ${soon}', 'case when true'],
  ],
)

const clock = faultsIn(
  'db/clock.ts',
  ['test/db/ticks.test.ts'],
  [
    [
      'Postgres’s clock is told in seconds',
      'select (extract(epoch from now()) * 1000)::float8 as now',
      'select extract(epoch from now())::float8 as now',
    ],
    ['a heartbeat of the future lives on', "(status = 'running' and heartbeat_at > ${soon})", 'false'],
    ['a deletion of the future counts until then', 'or deleted_at > ${soon}`', '`'],
    ['a tombstone of the future stays young until then', 'where deleted_at > ${soon})\n', 'where false)\n'],
    ['the past is brought to now', 'least(heartbeat_at, now())', 'now()'],
  ],
)

const fence = faultsIn(
  'db/write-transaction.ts',
  ['test/db/users.test.ts'],
  [
    ['there is no fence', "if (options.fence !== 'none') await", 'if (false) await'],
    [
      'an update takes the fence',
      "if (options.fence !== 'none') await takeFence(tx, options.fence)",
      "await takeFence(tx, options.fence === 'exclusive' ? 'exclusive' : 'shared')",
    ],
    [
      'a deletion shares the fence',
      "mode === 'shared' ? 'pg_advisory_xact_lock_shared' : 'pg_advisory_xact_lock'",
      "'pg_advisory_xact_lock_shared'",
    ],
    [
      'an insert takes the fence alone',
      "mode === 'shared' ? 'pg_advisory_xact_lock_shared' : 'pg_advisory_xact_lock'",
      "'pg_advisory_xact_lock'",
    ],
    [
      'the fence outlasts the transaction',
      "'pg_advisory_xact_lock_shared' : 'pg_advisory_xact_lock'",
      "'pg_advisory_lock_shared' : 'pg_advisory_lock'",
    ],
    [
      'a fence that is not to be had looks like a row',
      'throw error instanceof PostgresRefusal ? new',
      'throw false ? new',
    ],
    ['a write waits for locks without end', "raw(`'2s'`)", "raw(`'0'`)"],
    ['a write waits for locks for a minute', "raw(`'2s'`)", "raw(`'60s'`)"],
    ['a write hardly waits for locks', "raw(`'2s'`)", "raw(`'200ms'`)"],
    [
      'the fence is waited for without end',
      "      await query(tx, sql`set local lock_timeout = ${lockTimeout}`)\n      // Alone and before any other lock: together with an insert it would look with older eyes, after row locks it\n      // would deadlock.\n      if (options.fence !== 'none') await takeFence(tx, options.fence)\n",
      "      if (options.fence !== 'none') await takeFence(tx, options.fence)\n      await query(tx, sql`set local lock_timeout = ${lockTimeout}`)\n",
    ],
    ['the lock timeout outlasts the transaction', 'set local lock_timeout', 'set lock_timeout'],
    [
      'the statement timeout outlasts the transaction',
      'set local statement_timeout',
      'set statement_timeout',
    ],
    [
      'deletions may take for ever',
      "if (options.fence === 'exclusive') await query",
      'if (false) await query',
    ],
    [
      'every write has the deletions’ time limit',
      "if (options.fence === 'exclusive') await query",
      'if (true) await query',
    ],
    [
      'deletions have ten times as long',
      "raw(`'${database.deleteMsMax}ms'`)",
      "raw(`'${database.deleteMsMax}0ms'`)",
    ],
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
    [
      'any run that ever was holds the lease',
      "select from clerk_sync.runs where id = ${runId} and status = 'running'`",
      'select from clerk_sync.runs where id = ${runId}`',
    ],
    [
      'whoever runs holds the lease',
      "select from clerk_sync.runs where id = ${runId} and status = 'running'`",
      "select from clerk_sync.runs where status = 'running'`",
    ],
    [
      'the look at the lease locks it',
      "where id = ${runId} and status = 'running'`)",
      "where id = ${runId} and status = 'running' for update`)",
    ],
  ],
)

const deleted = faultsIn(
  'db/ledger.ts',
  ['test/db/users.test.ts'],
  [
    [
      'only a run’s last deletions count',
      'deleted = deleted + ${deleted}::integer',
      'deleted = ${deleted}::integer',
    ],
    ['deletions are never recent', ', deleted_at = clock_timestamp()\n', '\n'],
    [
      'a run that lost its lease deletes after all',
      "where id = ${runId} and status = 'running' returning id`,\n  )\n  if (rows",
      'where id = ${runId} returning id`,\n  )\n  if (rows',
    ],
    [
      'what cannot be counted is deleted',
      'if (rows.length === 0) throw leaseLost(runId)\n}\n\n/**\n * How',
      '}\n\n/**\n * How',
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
    ['a heart beats on after the run', 'clearInterval(timer)\n', '\n'],
    [
      'a beat waits for the one before',
      'setInterval(beat, heartbeatIntervalMs)',
      '((last = Promise.resolve()) => setInterval(() => { last = last.then(beat) }, heartbeatIntervalMs))()',
    ],
  ],
)

export const leaseFaults = [
  ...runs,
  ...ticks,
  ...numbers,
  ...clock,
  ...fence,
  ...look,
  ...deleted,
  ...keeping,
]
