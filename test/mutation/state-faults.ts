// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is looked for has placeholders
// Faults in the bound instance and the passes' progress, in migrations, and in the transactions under everything.
import { faultsIn } from './fault.ts'

const state = faultsIn(
  'db/state.ts',
  ['test/db/state.test.ts'],
  [
    ['a full pass is due before its time', 'full_pass_due_at <= now()', 'full_pass_due_at >= now()'],
    ['a full pass is due where nothing is pending', '${dueWithin}, false)', '${dueWithin}, true)'],
    ['a full pass is never due by a clock that was ahead', ' or full_pass_due_at > now() + ${dueWithin}', ''],
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
    [
      'the second of two instances fails',
      'values (${instanceId}, ${firstLook})\n        on conflict do nothing',
      'values (${instanceId}, ${firstLook})',
    ],
    [
      'the second of two instances wins',
      'values (${instanceId}, ${firstLook})\n        on conflict do nothing',
      'values (${instanceId}, ${firstLook}) on conflict (id) do update set instance_id = excluded.instance_id',
    ],
    ['an accepted instance is not bound', 'if (replaced !== undefined) {', 'if (false) {'],
    ['any instance is replaced', ' where instance_id = ${replaced}`', '`'],
    ['the old instance’s watermark stays', 'watermark = null, difference = null', 'difference = null'],
    ['the old instance’s difference stays', 'watermark = null, difference = null', 'watermark = null'],
    [
      'the old instance’s full pass is due',
      'difference = null,\n            full_pass_due_at = null, deletion_hold',
      'difference = null, deletion_hold',
    ],
    ['a table with rows is bound without a hold', '(${instanceId}, ${firstLook})', '(${instanceId}, null)'],
    [
      'a table follows another instance without a hold',
      'deletion_hold = ${firstLook}',
      'deletion_hold = null',
    ],
    ['a table without rows of ours is held', 'users u where ${isOurs}) then', 'users u) then'],
    ['the bound instance is cleared too', 'if (bound?.instance_id === instanceId) return instanceId\n', ''],
    [
      'progress is saved for another instance',
      'table_identity = ${tableIdentity}\n        where instance_id = ${instanceId}',
      'table_identity = ${tableIdentity}',
    ],
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
    ['any hold ends', ' where deletion_hold = ${hold}`', '`'],
    ['no hold ends', 'where deletion_hold = ${hold}', 'where deletion_hold <> ${hold}'],
  ],
)

const returns = faultsIn(
  'db/tombstones.ts',
  ['test/db/state.test.ts'],
  [
    ['a webhook’s tombstone begins a hold', 'run_id is not null and deleted_at', 'deleted_at'],
    [
      'a return hours later begins a hold',
      "${moment(youngSince)} - interval '1 hour'",
      "${moment(youngSince)} - interval '2 hours'",
    ],
    [
      'a return after the grace begins no hold',
      "${moment(youngSince)} - interval '1 hour'",
      '${moment(youngSince)}',
    ],
    [
      'any return begins a hold',
      'where exists (select from lifted where ${isRuns(youngSince)})',
      'where exists (select from lifted)',
    ],
    [
      'a dry run sees everybody’s tombstones',
      "where clerk_id = any(${arrayParameter(clerkIds, 'text')}) and ${isRuns",
      'where ${isRuns',
    ],
  ],
)

const migrations = faultsIn(
  'db/migrate.ts',
  ['test/db/migrate.test.ts'],
  [
    [
      'migrators do not wait for each other',
      '  await query(tx, sql`select pg_advisory_xact_lock(${migrationLock})`, migrationMsMax)\n',
      '',
    ],
    [
      'migrators share the lock',
      'pg_advisory_xact_lock(${migrationLock})',
      'pg_advisory_xact_lock_shared(${migrationLock})',
    ],
    [
      'a migrator that waited does not look again',
      'const { pending, applied } = await readMigrations(tx, folder)',
      'const { pending, applied } = { pending: readFiles(folder), applied: [] as Migration[] }',
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
      'for (const statement of migration.sql) await query(tx, sql.raw(statement), migrationMsMax)\n',
      'for (const statement of migration.sql) await query(tx, sql.raw(statement), migrationMsMax)\n    if (pending.length > 0) continue\n',
    ],
    [
      'the catalogue is asked with old eyes',
      "select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace\n          where n.nspname = 'clerk_sync' and c.relname = 'migrations') as exists",
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
    ['what no migration makes is looked for in each run', '  await requireAll(tx)\n', ''],
  ],
)

const catalogue = faultsIn(
  'db/missing.ts',
  ['test/db/reset.test.ts'],
  [
    ['any unique index is a key', 'and i.indnkeyatts = 1 as is_key', 'as is_key'],
    ['a partial index is a key', 'and i.indpred is null and', 'and'],
    [
      'another index is the lease',
      'case when w.is_unique::bool then i.name = w.name else',
      'case when false then false else',
    ],
    [
      'an index by another name does not count',
      'else i."column" = w."column" end',
      'else i.name = w.name end',
    ],
    [
      'a role that may not make an index is refused',
      "and (w.is_unique::bool or pg_has_role(r.relowner, 'usage'))",
      '',
    ],
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
    [
      'a transaction looks with the eyes of its begin',
      'isolation level read committed',
      'isolation level repeatable read',
    ],
  ],
)

const failures = faultsIn(
  'db/failures.ts',
  ['test/db/failures.test.ts', 'test/db/users.test.ts'],
  [
    [
      'a lock timeout is the row’s fault',
      "new PostgresRefusal('lock', code, code)",
      "new PostgresRefusal('row', code, code)",
    ],
    ['a trigger’s words are told', 'where !== undefined || routine', 'false || routine'],
    ['a quoted value is told', 'asIdentifier(name) === undefined ? \'"…"\'', 'false ? \'"…"\''],
    ['a refused login looks like a refused row', '!isFatal && rowCodes', 'rowCodes'],
    [
      'a pooler’s own code says nothing',
      '(said) => parameterIn(said.message) !== undefined',
      '(said) => false && parameterIn(said.message) !== undefined',
    ],
  ],
)

const looks = faultsIn(
  'db/second-look.ts',
  ['test/db/failures.test.ts'],
  [
    ['every read-only server is a standby', 'return rows?.[0]?.standby === false', 'return false'],
    ['no transaction is over its time', 'rows?.[0] !== undefined && openMs', 'false && openMs'],
    ['a server without encryption is waited for', 'data[0] === 78 ? false', 'data[0] === 78 ? true'],
  ],
)

const waits = faultsIn(
  'db/database.ts',
  ['test/db/patience.test.ts'],
  [
    [
      'a process that sleeps keeps its locks',
      "set local idle_in_transaction_session_timeout = '20s'",
      'select',
    ],
    ['a transaction is waited for without end', 'inTime(work, milliseconds)', 'work'],
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
  ...looks,
  ...waits,
]
