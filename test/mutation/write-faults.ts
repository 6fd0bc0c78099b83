// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is looked for has placeholders
// Faults in what is written to `users` and its tombstones: the guards that the SQL repeats, and its locks.
import { faultsIn } from './fault.ts'

const asMaterialized = 'Postgres never merges a query that locks rows into the one around it.'

const inserts = faultsIn(
  'db/users.ts',
  ['test/db/users.test.ts'],
  [
    ['no tombstone blocks', 'where not exists (select', 'where true or not exists (select'],
    ['a tombstone of the grace’s first moment blocks', 't.deleted_at > ${', 't.deleted_at >= ${'],
    ['somebody else’s tombstone blocks', 'where t.clerk_id = d.clerk_id and', 'where'],
    ['inserts go in any order', '\n        order by clerk_id\n', '\n'],
    ['an insert fails where there is a row', 'on conflict (clerk_id) do nothing\n', '\n'],
    [
      'an insert overwrites what is there',
      'on conflict (clerk_id) do nothing\n',
      'on conflict (clerk_id) do update set name = excluded.name\n',
    ],
    [
      'a tombstone stays when the user is back',
      'if (created.length > 0) await',
      'if (created.length < 0) await',
    ],
    [
      'a tombstone goes though the user was not inserted',
      'liftTombstones(tx, created, youngSince)',
      'liftTombstones(tx, writes.map((write) => write.clerkId), youngSince)',
    ],
  ],
)

const updates = faultsIn(
  'db/users.ts',
  ['test/db/users.test.ts'],
  [
    ['an update leaves updated_at', '[...values, sql`updated_at = now()`]', '[...values]'],
    [
      'an update overlooks a null',
      "sql`(${valuesOf('u')}) is distinct from (${valuesOf('d')})`",
      "sql`(${valuesOf('u')}) <> (${valuesOf('d')})`",
    ],
    [
      'an update writes what is the same',
      'sql`updated_at = now()`], differs)',
      'sql`updated_at = now()`], sql`true`)',
    ],
    ['a refresh moves updated_at', '    [],\n', '    [sql`updated_at = now()`],\n'],
    [
      'a refresh overlooks a null among the values',
      "(${valuesOf('u')}) is not distinct from (${valuesOf('d')})",
      "(${valuesOf('u')}) = (${valuesOf('d')})",
    ],
    [
      'a refresh takes a row with other values for refreshed',
      "(${valuesOf('u')}) is not distinct from (${valuesOf('d')})",
      'true',
    ],
    [
      'a refresh overlooks a missing time',
      'u.clerk_updated_at) is distinct from (d',
      'u.clerk_updated_at) <> (d',
    ],
    [
      'a refresh writes what is the same',
      '(u.clerk_created_at, u.clerk_updated_at) is distinct from (d.clerk_created_at, d.clerk_updated_at)',
      'true',
    ],
    [
      'a refresh overlooks the creation time',
      '(u.clerk_created_at, u.clerk_updated_at) is distinct from (d.clerk_created_at, d.clerk_updated_at)',
      'u.clerk_updated_at is distinct from d.clerk_updated_at',
    ],
    ['a pass loses at an equal version', "by === 'pass' ? '<=' : '<'", "'<'"],
    ['a webhook wins at an equal version', "by === 'pass' ? '<=' : '<'", "'<='"],
    ['stale values win', 'u.clerk_updated_at ${older} d.clerk_updated_at', 'true'],
    ['no row without a version is written', '(u.clerk_updated_at is null or ', '('],
    ['a newer version is never replaced', "${epochMs('clerk_updated_at')} = d.replaces", 'false'],
    [
      'a version is replaced that nobody judged',
      "${epochMs('clerk_updated_at')} = d.replaces",
      "${epochMs('clerk_updated_at')} <= d.replaces",
    ],
    ['any version is replaced', "${epochMs('clerk_updated_at')} = d.replaces", 'd.replaces is not null'],
    ['the second execution writes again', 'and ${changed}', 'and (true or ${changed})'],
    [
      'an update locks rows in any order',
      'order by u.clerk_id for no key update of u',
      'for no key update of u',
    ],
    ['an update locks what refers to its rows', 'for no key update of u', 'for update of u'],
    ['an update locks nothing first', ' for no key update of u', ''],
    [
      'an update’s locks are not a step of their own',
      'locked as materialized (select u.clerk_id from users u join d',
      'locked as (select u.clerk_id from users u join d',
      asMaterialized,
    ],
    ['an update writes rows that were not locked', 'from d join locked using (clerk_id)\n', 'from d\n'],
  ],
)

const deletions = faultsIn(
  'db/tombstones.ts',
  ['test/db/users.test.ts'],
  [
    [
      'a row without a version is never deleted',
      "${epochMs('clerk_updated_at')} is not distinct from j.version",
      "${epochMs('clerk_updated_at')} = j.version",
    ],
    ['a newer version is deleted', "${epochMs('clerk_updated_at')} is not distinct from j.version", 'true'],
    ['a deletion locks rows in any order', 'order by u.clerk_id for update of u', 'for update of u'],
    ['a deletion is not counted', 'if (runId !== null && deleted.length > 0) await', 'if (false) await'],
    ['a deletion locks nothing first', ' for update of u', ''],
    [
      'a deletion’s locks are not a step of their own',
      'locked as materialized (select u.clerk_id from users u join judged',
      'locked as (select u.clerk_id from users u join judged',
      asMaterialized,
    ],
    [
      'a row is deleted that was not locked',
      'using locked where u.clerk_id = locked.clerk_id',
      'using judged j where u.clerk_id = j.clerk_id',
    ],
    [
      'a deletion leaves no tombstone',
      '${runId}::bigint from deleted\n',
      '${runId}::bigint from deleted where false\n',
    ],
    [
      'a row that stays gets a tombstone',
      '${runId}::bigint from deleted\n',
      '${runId}::bigint from judged\n',
    ],
    [
      'a tombstone is as old as its transaction',
      'select clerk_id, clock_timestamp(), ${',
      'select clerk_id, now(), ${',
    ],
    ['a tombstone does not name its run', '${runId}::bigint from deleted', 'null::bigint from deleted'],
    [
      'a pass does not renew a tombstone',
      'on conflict (clerk_id) do update set deleted_at = excluded.deleted_at, run_id = excluded.run_id\n        returning clerk_id',
      'on conflict (clerk_id) do update set run_id = excluded.run_id\n        returning clerk_id',
    ],
    [
      'a renewed tombstone names the old run',
      'on conflict (clerk_id) do update set deleted_at = excluded.deleted_at, run_id = excluded.run_id\n        returning clerk_id',
      'on conflict (clerk_id) do update set deleted_at = excluded.deleted_at\n        returning clerk_id',
    ],
  ],
)

const deliveries = faultsIn(
  'db/tombstones.ts',
  ['test/db/counts.test.ts'],
  [
    [
      'a webhook deletes everybody',
      'delete from users where clerk_id = ${clerkId}',
      'delete from users where clerk_id <= ${clerkId}',
    ],
    [
      'a webhook’s tombstone is as old as its transaction',
      'values (${clerkId}, clock_timestamp())',
      'values (${clerkId}, now())',
    ],
    [
      'a webhook does not renew a tombstone',
      'clock_timestamp())\n        on conflict (clerk_id) do update set deleted_at = excluded.deleted_at, run_id = excluded.run_id',
      'clock_timestamp())\n        on conflict (clerk_id) do update set run_id = excluded.run_id',
    ],
    [
      'a tombstone that a webhook renews stays a run’s',
      'clock_timestamp())\n        on conflict (clerk_id) do update set deleted_at = excluded.deleted_at, run_id = excluded.run_id',
      'clock_timestamp())\n        on conflict (clerk_id) do update set deleted_at = excluded.deleted_at',
    ],
    ['a webhook says that it deleted nobody', 'return deleted.length > 0', 'return deleted.length > 1'],
  ],
)

const uniqueness = faultsIn(
  'db/unique.ts',
  ['test/db/unique.test.ts'],
  [
    ['a row is blanked whatever its version', '    differs,\n', '    sql`true or ${differs}`,\n'],
    ['a webhook blanks at an equal version', '    by,\n', "    'pass',\n"],
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
    [
      'who is stuck stays blank',
      '  if (stuck.size > 0) throw new Stuck(stuck)\n  return { updated, created }',
      '  return { updated, created }',
    ],
    ['nobody is blanked', 'blankUsers(inner, part, columns, by))', 'blankUsers(inner, part, [], by))'],
    ['a deferred constraint speaks at the commit', '  await checkAtOnce(tx)\n', ''],
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
  [['a row outside of the approved list is deleted', ' && approved.has(clerkId))', ')']],
)

const holds = faultsIn(
  'sync/allowance.ts',
  ['test/sync/hold.test.ts'],
  [
    [
      'a list that is no longer there ends a hold',
      'isNothingPending && (isFirstLook || hasDeleted)',
      'isNothingPending',
    ],
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
