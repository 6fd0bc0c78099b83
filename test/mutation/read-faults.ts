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
    [
      'a row that is not ours is absent',
      'sql`u.clerk_created_at is not null`, isOurs]',
      'sql`u.clerk_created_at is not null`]',
    ],
    ['a row that was seen is absent', 'and u.clerk_id <> all(', 'or u.clerk_id = any('],
    ['an undated row that is not ours is absent', 'where ${undated} and ${isOurs}', 'where ${undated}'],
    ['a dated row is undated', '? sql`u.clerk_created_at is null`', '? sql`true`'],
  ],
)

const ages = faultsIn(
  'db/first-seen.ts',
  ['test/db/users.test.ts', 'test/sync/odd-rows.test.ts'],
  [
    ['a row is a day old after two', "interval '1 day', false", "interval '2 days', false"],
    ['a row is a day old at once', "interval '1 day', false", "interval '0 days', false"],
    ['a row of unknown age is a day old', "'1 day', false)", "'1 day', true)"],
    ['a creation time of minus infinity tells an age', 'isfinite(u.created_at) and ', ''],
    ['a creation time to come tells an age', ' and u.created_at <= now()', ''],
    [
      'the first meeting counts before the creation time',
      'then u.created_at else ${met} end',
      'then coalesce(${met}, u.created_at) else ${met} end',
    ],
    ['no row is ever met', 'if (isDryRun || rows.length === 0)', 'if (true)'],
    ['a dry run notes that it met a row', 'if (isDryRun || rows.length === 0)', 'if (rows.length === 0)'],
    ['rows with a creation time are met', ' and ${ageless} order', ' order'],
    ['a row is met anew each time', 'where first_seen.first_seen_at > excluded.first_seen_at', 'where true'],
    [
      'a first meeting in the future stays',
      'where first_seen.first_seen_at > excluded.first_seen_at',
      'where false',
    ],
    [
      'a row with a version stays met',
      'u.clerk_id = f.clerk_id and u.clerk_updated_at is null)',
      'u.clerk_id = f.clerk_id)',
    ],
    [
      'every meeting is forgotten',
      'where not exists (select from users',
      'where true or not exists (select from users',
    ],
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
    [
      'rows that are not ours are counted',
      'select count(*)::float8 as count from users u where ${isOurs}',
      'select count(*)::float8 as count from users u',
    ],
    [
      'all rows are counted for a list of ids',
      'select count(*)::float8 as count from users u where u.clerk_id = any(',
      'select count(*)::float8 as count from users u where true or u.clerk_id = any(',
    ],
    ['a sample has rows that are not ours', 'u where ${isOurs} order by md5', 'u order by md5'],
    ['a sample is of the first rows', 'order by md5(u.clerk_id) limit', 'order by u.clerk_id limit'],
    ['a sample has no limit', 'order by md5(u.clerk_id) limit ${limit}', 'order by md5(u.clerk_id)'],
  ],
)

const tombstones = faultsIn(
  'db/tombstones.ts',
  ['test/db/users.test.ts'],
  [
    [
      'a tombstone of this very moment is young',
      'select clerk_id, deleted_at > ${',
      'select clerk_id, deleted_at >= ${',
    ],
    [
      'every tombstone is young',
      'select clerk_id, deleted_at > ${moment(youngSince)} as',
      'select clerk_id, true as',
    ],
    ['tombstones are forgotten after 29 days', "now() - interval '30 days'", "now() - interval '29 days'"],
    ['tombstones are kept for 31 days', "now() - interval '30 days'", "now() - interval '31 days'"],
  ],
)

const times = faultsIn(
  'db/times.ts',
  ['test/db/users.test.ts'],
  [
    [
      'a version is read to the second',
      '(extract(epoch from u.${sql.identifier(column)}) * 1000)',
      '(floor(extract(epoch from u.${sql.identifier(column)})) * 1000)',
    ],
    ['beyond the year 9999 is an error', "return 'infinity'", "return ''"],
    ['before the year 1 is an error', "return '-infinity'", "return ''"],
  ],
)

export const readFaults = [...looks, ...ages, ...counts, ...tombstones, ...times]
