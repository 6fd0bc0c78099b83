// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is looked for has placeholders
// Faults in what is written to `users` and its tombstones: the guards that the SQL repeats, and its locks.
import { faultsIn } from './fault.ts'

const asMaterialized = 'Postgres never merges a query that locks rows into the one around it.'

const inserts = faultsIn(
  'db/users.ts',
  ['test/db/users.test.ts'],
  [
    ['no tombstone blocks', '-- a tombstone blocks … where not', 'where true or not'],
    ['a tombstone of the grace’s first moment blocks', '-- a tombstone blocks … >', '>='],
    ['somebody else’s tombstone blocks', '-- a tombstone blocks … t.clerk_id = d.clerk_id and', ''],
    ['inserts go in any order', 'order by clerk_id', ''],
    ['an insert fails where there is a row', '-- whoever was first wins', ''],
    [
      'an insert overwrites what is there',
      '-- whoever was first wins … nothing',
      'update set name = excluded.name',
    ],
    ['a tombstone stays when the user is back', 'created.length > 0', 'created.length < 0'],
    [
      'a tombstone goes though the user was not inserted',
      'liftTombstones(tx, created',
      'liftTombstones(tx, writes.map((write) => write.clerkId)',
    ],
  ],
)

const updates = faultsIn(
  'db/users.ts',
  ['test/db/users.test.ts'],
  [
    ['an update leaves updated_at', ', sql`updated_at = now()`', ''],
    ['an update overlooks a null', 'differs … is distinct from', '<>'],
    ['an update writes what is the same', 'updateUsers … differs', 'sql`true`'],
    ['a refresh moves updated_at', 'refreshUsers … by, []', 'by, [sql`updated_at = now()`]'],
    [
      'a refresh overlooks a null among the values',
      "-- other values are an update's … is not distinct from",
      '=',
    ],
    ['a refresh takes a row with other values for refreshed', "-- other values are an update's", 'true'],
    ['a refresh overlooks a missing time', '-- equal times need no write … is distinct from', '<>'],
    ['a refresh writes what is the same', '-- equal times need no write', 'and true'],
    [
      'a refresh overlooks the creation time',
      '-- equal times need no write',
      'and u.clerk_updated_at is distinct from d.clerk_updated_at',
    ],
    ['a pass loses at an equal version', "by === 'pass' ? '<=' : '<'", "'<'"],
    ['a webhook wins at an equal version', "by === 'pass' ? '<=' : '<'", "'<='"],
    ['stale values win', 'u.clerk_updated_at ${older} d.clerk_updated_at', 'true'],
    ['no row without a version is written', '-- stale pages lose … u.clerk_updated_at is null or', ''],
    [
      'a newer version is never replaced',
      "-- stale pages lose … or ${epochMs('clerk_updated_at')} = d.replaces",
      'or false',
    ],
    ['a version is replaced that nobody judged', '-- stale pages lose … = d.replaces', '<= d.replaces'],
    [
      'any version is replaced',
      "-- stale pages lose … ${epochMs('clerk_updated_at')} = d.replaces",
      'd.replaces is not null',
    ],
    [
      'the second execution writes again',
      '-- the second execution writes nothing',
      'and (true or ${changed})',
    ],
    ['an update locks rows in any order', 'order by u.clerk_id for no key', ' for no key'],
    ['an update locks what refers to its rows', 'for no key update of u', 'for update of u'],
    ['an update locks nothing first', 'for no key update of u', ''],
    ['an update’s locks are not a step of their own', 'as materialized', 'as', asMaterialized],
    ['an update writes rows that were not locked', 'join locked using (clerk_id)', ''],
  ],
)

const deletions = faultsIn(
  'db/tombstones.ts',
  ['test/db/users.test.ts'],
  [
    ['a row without a version is never deleted', '-- a newer version lives … is not distinct from', '='],
    ['a newer version is deleted', '-- a newer version lives', 'where true'],
    ['a deletion locks rows in any order', 'order by u.clerk_id', ''],
    ['a deletion is not counted', 'runId !== null && deleted.length > 0', 'false'],
    ['a deletion locks nothing first', 'for update of u', ''],
    ['a deletion’s locks are not a step of their own', 'as materialized', 'as', asMaterialized],
    [
      'a row is deleted that was not locked',
      'using locked where u.clerk_id = locked.clerk_id',
      'using judged j where u.clerk_id = j.clerk_id',
    ],
    ['a deletion leaves no tombstone', 'from deleted', 'from deleted where false'],
    ['a row that stays gets a tombstone', 'from deleted', 'from judged'],
    [
      'a tombstone is as old as its transaction',
      'select clerk_id, clock_timestamp()',
      'select clerk_id, now()',
    ],
    ['a tombstone does not name its run', '${runId}::bigint', 'null::bigint'],
    ['a pass does not renew a tombstone', 'deleteUsers … deleted_at = excluded.deleted_at,', ''],
    ['a renewed tombstone names the old run', 'deleteUsers … , run_id = excluded.run_id', ''],
  ],
)

const deliveries = faultsIn(
  'db/tombstones.ts',
  ['test/db/counts.test.ts'],
  [
    ['a webhook deletes everybody', 'clerk_id = ${clerkId}', 'clerk_id <= ${clerkId}'],
    [
      'a webhook’s tombstone is as old as its transaction',
      '(${clerkId}, clock_timestamp())',
      '(${clerkId}, now())',
    ],
    ['a webhook does not renew a tombstone', 'deleteUser … deleted_at = excluded.deleted_at,', ''],
    ['a tombstone that a webhook renews stays a run’s', 'deleteUser … , run_id = excluded.run_id', ''],
    ['a webhook says that it deleted nobody', 'deleteUser … deleted.length > 0', 'deleted.length > 1'],
  ],
)

const uniqueness = faultsIn(
  'db/unique.ts',
  ['test/db/unique.test.ts'],
  [
    ['a row is blanked whatever its version', 'blankUsers … differs', 'sql`true or ${differs}`'],
    ['a webhook blanks at an equal version', 'blankUsers … writes, by', "writes, 'pass'"],
    ['a column that takes no null is made null', 'column.takesNull ? sql`null`', 'true ? sql`null`'],
    ['all blanks are the same', 'md5(u.clerk_id)', "md5('')"],
    ['two blanks differ in their case alone', 'md5(u.clerk_id)', 'u.clerk_id'],
    [
      'only plain columns count',
      'or exists (select from pg_depend',
      'or false and exists (select from pg_depend',
    ],
    ['an index of another table counts', "i.indrelid = to_regclass('users') and", ''],
    [
      'two nulls are never the same',
      "coalesce(not (to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, true)",
      'true',
    ],
    ['one index that takes null suffices', 'bool_and(not', 'bool_or(not'],
    ['columns of the app are blanked', 'and a.attname = any(', 'and a.attname <> all('],
  ],
)

const settlements = faultsIn(
  'sync/together.ts',
  ['test/sync/swaps.test.ts'],
  [
    ['a blank may stay', 'if (!isWritten.has(id) && !stuck.has(id)) stuck.set(id, null)', ''],
    ['who is stuck stays blank', 'if (stuck.size > 0) throw new Stuck(stuck) return', 'return'],
    ['nobody is blanked', 'blankUsers(inner, part, columns, by))', 'blankUsers(inner, part, [], by))'],
    ['a deferred constraint speaks at the commit', 'await checkAtOnce(tx)', ''],
    [
      'who is stuck is tried with the others again',
      'members.filter(({ write }) => !stuck.has(write.clerkId))',
      '[...members]',
    ],
  ],
)

const alterations = faultsIn(
  'sync/altered.ts',
  ['test/sync/altered.test.ts'],
  [
    ['what was altered is written again', 'fingerprint === fingerprintOf(stored, wanted)', 'false'],
    ['what was altered is never written again', 'fingerprint === fingerprintOf(stored, wanted)', 'true'],
    ['what was altered keeps an old version', 'if (hasNews) refreshes', 'if (false) refreshes'],
    [
      'an alteration is forgotten',
      'altered: alterations.map(({ clerkId, stored, wanted }) => [',
      'altered: alterations.slice(alterations.length).map(({ clerkId, stored, wanted }) => [',
    ],
    [
      'an alteration is not told',
      'rejected: alterations.map(',
      'rejected: alterations.slice(alterations.length).map(',
    ],
  ],
)

const approvals = faultsIn(
  'sync/approval.ts',
  ['test/sync/approval.test.ts'],
  [
    ['a list that is unknown approves any row', "? new Set(kept) : 'unknown'", "? new Set(kept) : 'all'"],
    ['another list than the approved one is approved', 'digestOf(ids) === pass', 'digestOf(ids) !== pass'],
  ],
)

const approvalCommands = faultsIn(
  'sync/approval-command.ts',
  ['test/sync/approval.test.ts'],
  [['a list is told by its first id', "[...ids].sort().join('\\n')", "[...ids].sort()[0] ?? ''"]],
)

const policies = faultsIn(
  'sync/deletion-policy.ts',
  ['test/sync/approval.test.ts'],
  [['a row outside of the approved list is deleted', '&& approved.has(clerkId)', '']],
)

const holds = faultsIn(
  'sync/allowance.ts',
  ['test/sync/hold.test.ts'],
  [
    ['a list that is no longer there ends a hold', '&& (isFirstLook || hasDeleted)', ''],
    [
      'a list ends a hold while others are pending',
      'isNothingPending && (isFirstLook || hasDeleted)',
      '(isFirstLook || hasDeleted)',
    ],
    [
      'a pass without an approval ends any hold',
      'return isFirstLook && isNothingPending',
      'return isNothingPending',
    ],
  ],
)

export const writeFaults = [
  ...inserts,
  ...updates,
  ...deletions,
  ...deliveries,
  ...uniqueness,
  ...settlements,
  ...alterations,
  ...approvals,
  ...approvalCommands,
  ...policies,
  ...holds,
]
