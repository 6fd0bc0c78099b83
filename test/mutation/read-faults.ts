// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is looked for has placeholders
// Faults in what is read from `users` and its tombstones: whose row it is, which span, how old.
import { faultsIn } from './fault.ts'

const looks = faultsIn(
  'db/users.ts',
  ['test/db/users.test.ts'],
  [
    ['a span holds the time it begins after', 'u.clerk_created_at > ${', 'u.clerk_created_at >= ${'],
    ['a span lacks the time it goes up to', 'u.clerk_created_at <= ${', 'u.clerk_created_at < ${'],
    ['a span holds rows without a creation time', 'sql`u.clerk_created_at is not null`', 'sql`true`'],
    ['a row that is not ours is absent', 'readAbsentIds … , isOurs', ''],
    ['a row that was seen is absent', 'and u.clerk_id <> all(', 'or u.clerk_id = any('],
    ['an undated row that is not ours is absent', 'readUndatedIds … and ${isOurs}', ''],
    ['a dated row is undated', '? sql`u.clerk_created_at is null`', '? sql`true`'],
  ],
)

const ages = faultsIn(
  'db/first-seen.ts',
  ['test/db/users.test.ts', 'test/sync/odd-rows.test.ts'],
  [
    ['a row is a day old after two', "'1 day'", "'2 days'"],
    ['a row is a day old at once', "'1 day'", "'0 days'"],
    ['a row of unknown age is a day old', "'1 day', false)", "'1 day', true)"],
    ['a creation time of minus infinity tells an age', 'isfinite(u.created_at) and', ''],
    ['a creation time to come tells an age', 'and u.created_at <= now()', ''],
    [
      'the first meeting counts before the creation time',
      'then u.created_at',
      'then coalesce(${met}, u.created_at)',
    ],
    ['no row is ever met', 'isDryRun || rows.length === 0', 'true'],
    ['a dry run notes that it met a row', 'isDryRun || rows.length === 0', 'rows.length === 0'],
    ['rows with a creation time are met', 'and ${ageless}', ''],
    ['a row is met anew each time', '-- a clock that was ahead', 'where true'],
    ['a first meeting in the future stays', '-- a clock that was ahead', 'where false'],
    ['a row with a version stays met', 'and u.clerk_updated_at is null', ''],
    ['every meeting is forgotten', 'where not exists', 'where true or not exists'],
  ],
)

const counts = faultsIn(
  'db/users.ts',
  ['test/db/counts.test.ts'],
  [
    ['an id may begin in any way', '^user_[A-Za-z0-9]+$', 'user_[A-Za-z0-9]+$'],
    ['an id may end in any way', '^user_[A-Za-z0-9]+$', '^user_[A-Za-z0-9]+'],
    ['an id may be empty behind its prefix', '^user_[A-Za-z0-9]+$', '^user_[A-Za-z0-9]*$'],
    ['an id may hold anything', '^user_[A-Za-z0-9]+$', '^user_.+$'],
    ['rows that are not ours are counted', 'countRows … where ${isOurs}', ''],
    ['all rows are counted for a list of ids', 'countRowsOf … where', 'where true or'],
    ['a sample has rows that are not ours', 'readSampleIds … where ${isOurs}', ''],
    ['a sample is of the first rows', 'md5(u.clerk_id)', 'u.clerk_id'],
    ['a sample has no limit', 'readSampleIds … limit ${limit}', ''],
  ],
)

const tombstones = faultsIn(
  'db/tombstones.ts',
  ['test/db/users.test.ts'],
  [
    ['a tombstone of this very moment is young', 'readTombstones … deleted_at >', 'deleted_at >='],
    ['every tombstone is young', 'readTombstones … deleted_at > ${moment(tombstonesBlockSince)}', 'true'],
    ['tombstones are forgotten after 29 days', "'30 days'", "'29 days'"],
    ['tombstones are kept for 31 days', "'30 days'", "'31 days'"],
  ],
)

const times = faultsIn(
  'db/times.ts',
  ['test/db/users.test.ts'],
  [
    [
      'a version is read to the second',
      '(extract(epoch from u.${sql.identifier(column)})',
      '(floor(extract(epoch from u.${sql.identifier(column)}))',
    ],
    ['beyond the year 9999 is an error', "'infinity'", "''"],
    ['before the year 1 is an error', "'-infinity'", "''"],
  ],
)

export const readFaults = [...looks, ...ages, ...counts, ...tombstones, ...times]
