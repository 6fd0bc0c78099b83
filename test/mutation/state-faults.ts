// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is looked for has placeholders
// Faults in the bound instance and the passes' progress, in migrations, and in the transactions under everything.
import { faultsIn } from './fault.ts'

const state = faultsIn(
  'db/state.ts',
  ['test/db/state.test.ts'],
  [
    ['a full pass is due before its time', 'full_pass_due_at <= now()', 'full_pass_due_at >= now()'],
    ['a full pass is due where nothing is pending', '${dueWithin}, false)', '${dueWithin}, true)'],
    ['a full pass is never due by a clock that was ahead', 'or full_pass_due_at > now() + ${dueWithin}', ''],
    [
      'a full pass may be due in years',
      'least(${fullPassDueInMs}::float8, ${dueMsMax})',
      '${fullPassDueInMs}::float8',
    ],
    [
      'the watermark is read in seconds',
      '(extract(epoch from watermark) * 1000)',
      '(extract(epoch from watermark) * 1)',
    ],
    ['the second of two instances fails', '-- the first instance wins', ''],
    [
      'the second of two instances wins',
      '-- the first instance wins … do nothing',
      '(id) do update set instance_id = excluded.instance_id',
    ],
    ['an accepted instance is not bound', 'replaced !== undefined', 'false'],
    ['any instance is replaced', '-- only the accepted instance goes', ''],
    ['the old instance’s watermark stays', 'watermark = null,', ''],
    ['the old instance’s difference stays', ', difference = null', ''],
    ['the old instance’s full pass is due', 'full_pass_due_at = null,', ''],
    ['a table with rows is bound without a hold', '(${instanceId}, ${firstLook})', '(${instanceId}, null)'],
    [
      'a table follows another instance without a hold',
      'deletion_hold = ${firstLook}',
      'deletion_hold = null',
    ],
    ['a table without rows of ours is held', 'firstLook … where ${isOurs}', ''],
    ['the bound instance is cleared too', 'if (bound?.instance_id === instanceId) return instanceId', ''],
    ['progress is saved for another instance', '-- only for this instance', ''],
    ['every table is the same', 'coalesce(${known} = ${tableIdentity}, false)', 'true'],
    ['no table is the same', 'coalesce(${known} = ${tableIdentity}, false)', 'false'],
    ['an unknown table is the same', '= ${tableIdentity}, false)', '= ${tableIdentity}, true)'],
    ['a truncated table is the same', "'%I.%I %s %s'", "'%I.%I %s'"],
    ['a full pass that was due is forgotten', '? sql`full_pass_due_at`', '? sql`null`'],
    ['a full pass is due a thousand times later', "* interval '1 millisecond'`", "* interval '1 second'`"],
  ],
)

const holds = faultsIn(
  'db/hold.ts',
  ['test/db/state.test.ts'],
  [
    ['any hold ends', 'where deletion_hold = ${hold}', ''],
    ['no hold ends', 'deletion_hold = ${hold}', 'deletion_hold <> ${hold}'],
  ],
)

const returns = faultsIn(
  'db/tombstones.ts',
  ['test/db/state.test.ts'],
  [
    ['a webhook’s tombstone begins a hold', 'run_id is not null and', ''],
    ['a return hours later begins a hold', "'1 hour'", "'2 hours'"],
    ['a return after the grace begins no hold', "- interval '1 hour'", ''],
    ['any return begins a hold', '-- that run was wrong … where ${isRuns(tombstonesBlockSince)}', ''],
    [
      'a dry run sees everybody’s tombstones',
      "wereDeletedByRuns … clerk_id = any(${arrayParameter(clerkIds, 'text')}) and",
      '',
    ],
  ],
)

const migrations = faultsIn(
  'db/migrate.ts',
  ['test/db/migrate.test.ts'],
  [
    [
      'migrators do not wait for each other',
      'await query(tx, sql`select pg_advisory_xact_lock(${migrationLock})`, migrationMsMax)',
      '',
    ],
    ['migrators share the lock', 'pg_advisory_xact_lock', 'pg_advisory_xact_lock_shared'],
    [
      'a migrator that waited does not look again',
      'migrateWithin … await readMigrations(tx, folder)',
      '{ pending: readFiles(folder), applied: [] as Migration[] }',
    ],
    [
      'a migrator does not look first',
      'if (!(await hasPendingMigrations(database.db, folder))) return { applied: 0 }',
      '',
    ],
    ['a migration waits for the app without end', "lock_timeout = '10s'", "lock_timeout = '0'"],
    ['a migration waits for the app for 25 seconds', "lock_timeout = '10s'", "lock_timeout = '25s'"],
    [
      'a migration is not noted',
      'await query(tx, sql.raw(statement), migrationMsMax)',
      'await query(tx, sql.raw(statement), migrationMsMax)\n    if (pending.length > 0) continue',
    ],
    [
      'the catalogue is asked with old eyes',
      '-- not to_regclass',
      "select to_regclass('clerk_sync.migrations') is not null as exists",
    ],
  ],
)

const resets = faultsIn(
  'db/migrate.ts',
  ['test/db/reset.test.ts'],
  [
    ['a role’s limits hold for migrations', "name in ('statement_timeout',", "name in ('no_timeout',"],
    [
      'what is gone is not looked for',
      'return pending.length > 0 || (await',
      'return pending.length > 0 || false && (await',
    ],
    ['only what is pending is made again', 'lost.length > 0 ? applied : []', '[] as Migration[]'],
    ['what is there already is an error', '!doneCodes.test(String(error.facts.code))', 'true'],
    ['an incremental pass follows a migration', 'if (count > 0) await query', 'if (false) await query'],
    ['what no migration makes is looked for in each run', 'await requireAll(tx)', ''],
  ],
)

const catalogue = faultsIn(
  'db/missing.ts',
  ['test/db/reset.test.ts'],
  [
    ['any unique index is a key', 'and i.indnkeyatts = 1', ''],
    ['a partial index is a key', 'i.indpred is null and', ''],
    [
      'another index is the lease',
      'case when w.is_unique::bool then i.name = w.name',
      'case when false then false',
    ],
    ['an index by another name does not count', 'else i."column" = w."column"', 'else i.name = w.name'],
    ['a role that may not make an index is refused', '-- without it all goes on', ''],
  ],
)

const transactions = faultsIn(
  'db/database.ts',
  ['test/db/users.test.ts'],
  [
    [
      'a transaction is as isolated as the database likes',
      'set transaction isolation level read committed;',
      '',
    ],
    ['a transaction looks with the eyes of its begin', 'level read committed', 'level repeatable read'],
  ],
)

const failures = faultsIn(
  'db/postgres-errors.ts',
  ['test/db/postgres-errors.test.ts', 'test/db/users.test.ts'],
  [
    [
      'a lock timeout is the row’s fault',
      "new WriteError('lock', code, code)",
      "new WriteError('row', code, code)",
    ],
    ['a trigger’s words are told', 'where !== undefined || routine', 'false || routine'],
    ['a quoted value is told', 'asIdentifier(name) === undefined ? \'"…"\'', 'false ? \'"…"\''],
    ['a refused login looks like a refused row', '!isFatal && rowCodes', 'rowCodes'],
  ],
)

const connections = faultsIn(
  'db/connection-failures.ts',
  ['test/db/postgres-errors.test.ts', 'test/db/users.test.ts'],
  [
    [
      'a pooler’s own code says nothing',
      '(said) => parameterIn(said.message) !== undefined',
      '(said) => false && parameterIn(said.message) !== undefined',
    ],
  ],
)

const looks = faultsIn(
  'db/second-look.ts',
  ['test/db/postgres-errors.test.ts'],
  [
    ['every read-only server is a standby', 'return rows?.[0]?.standby === false', 'return false'],
    ['no transaction is over its time', 'rows?.[0] !== undefined && openMs', 'false && openMs'],
    ['a server without encryption is waited for', 'data[0] === 78 ? false', 'data[0] === 78 ? true'],
  ],
)

const waits = faultsIn(
  'db/database.ts',
  ['test/db/timeouts.test.ts'],
  [
    [
      'a process that sleeps keeps its locks',
      "set local idle_in_transaction_session_timeout = '20s'",
      'select',
    ],
    ['a transaction is waited for without end', 'withPostgresTimeout(work, milliseconds)', 'work'],
  ],
)

export const stateFaults = [
  ...state,
  ...holds,
  ...returns,
  ...migrations,
  ...resets,
  ...catalogue,
  ...transactions,
  ...failures,
  ...connections,
  ...looks,
  ...waits,
]
