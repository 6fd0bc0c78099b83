// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is looked for has placeholders
// Faults that let the row of a living user go: what binds a table, proves an absence, tells the time or guards, taken out.
import type { Fault } from '../support/faulty-copy.ts'

export const deletionMutants: readonly Fault[] = [
  {
    name: 'one known row binds a table',
    edits: [['sync/instance.ts', 'known >= sample.length / 2', 'known > 0']],
  },
  {
    name: 'first look deletes',
    edits: [['db/state.ts', 'case when exists', 'case when false and exists']],
  },
  {
    name: 'a user found alive keeps no row but its own',
    edits: [
      [
        'sync/candidates.ts',
        'absent: [], alive: found',
        'absent: rows.filter((row) => !foundIds.has(row.clerkId)), alive: found',
      ],
    ],
  },
  {
    name: 'clock of Clerk believed against the others',
    edits: [
      ['sync/clock.ts', 'if (contradiction !== undefined && this', 'if (false && this'],
      // Either of the two is enough where only Clerk's clock is off.
      ['sync/clock.ts', 'Math.min(date, own, readings.postgres.least)', 'date'],
      ['sync/clock.ts', 'date, own, readings.postgres.most)', 'date)'],
    ],
  },
  {
    name: 'a missing Date passed over in silence',
    edits: [['sync/findings.ts', 'state.awaitsClock = true', '']],
  },
  {
    name: 'runs do not count what they delete',
    edits: [['db/deletion-count.ts', 'deleted + ${deleted}', 'deleted + 0 * ${deleted}']],
  },
  {
    name: 'a return holds nothing',
    edits: [['db/tombstones.ts', '-- that run was wrong … where exists', 'where false and exists']],
  },
  {
    name: 'an approval covers a return that it did not know',
    edits: [['sync/allowance.ts', 'hold === pass.holdAtStart', 'true']],
  },
  {
    name: 'a single user proves itself',
    edits: [
      [
        'sync/one-user.ts',
        'const canaries = await readCanaries(pass, clerkId)',
        'const canaries = false ? await readCanaries(pass, clerkId) : []',
      ],
      ['sync/one-user.ts', 'const isProven = canaries.length > 0 ||', 'const isProven = true ||'],
    ],
  },
  {
    name: 'a single user without guard',
    edits: [
      [
        'sync/one-user.ts',
        'allowance: isProven ? allowance : { ...allowance, allowed: 0 }',
        'allowance: { ...allowance, allowed: isProven ? 1 : 0 }',
      ],
      ['sync/allowance.ts', '+ rows <= hourlyMax', '>= 0'],
    ],
  },
  {
    name: 'a row without a creation time is old',
    edits: [
      [
        'db/first-seen.ts',
        "coalesce(${since} < now() - interval '1 day', false)",
        "coalesce(${since} < now() - interval '1 day', true)",
      ],
      ['sync/pending.ts', 'row.clerkUpdatedAt === null && !row.isDayOld', 'row.clerkUpdatedAt === null'],
    ],
  },
]
