// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is looked for has placeholders
// Faults that let the row of a living user go: what binds a table, proves an absence, tells the time or guards, taken out.
import type { Mutant } from './mutant.ts'

export const deletionMutants: readonly Mutant[] = [
  {
    name: 'one known row binds a table',
    edits: [['sync/instance.ts', 'if (known >= sample.length / 2) return', 'if (known > 0) return']],
  },
  {
    name: 'first look deletes',
    edits: [
      [
        'db/state.ts',
        "sql`case when exists (select from users u where ${isOurs}) then ${newHold('first-look')} end`",
        "sql`case when false and exists (select from users u where ${isOurs}) then ${newHold('first-look')} end`",
      ],
    ],
  },
  {
    name: 'a user found alive keeps no row but its own',
    edits: [
      [
        'sync/candidates.ts',
        'absent: [],\n    alive: found',
        'absent: rows.filter((row) => !foundIds.has(row.clerkId)),\n    alive: found',
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
    edits: [
      [
        'db/ledger.ts',
        'deleted = deleted + ${deleted}::integer',
        'deleted = deleted + 0 * ${deleted}::integer',
      ],
    ],
  },
  {
    name: 'a return holds nothing',
    edits: [
      [
        'db/tombstones.ts',
        'where exists (select from lifted where ${isRuns(youngSince)})',
        'where false and exists (select from lifted where ${isRuns(youngSince)})',
      ],
    ],
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
