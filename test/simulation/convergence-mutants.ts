// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is looked for has placeholders
// Faults that keep the table from becoming equal to Clerk, or let a run say that it is: what settles addresses, takes the
// lease, sees what a trigger does or tells one table from another, taken out.
import type { Fault } from '../support/faulty-copy.ts'

export const convergenceMutants: readonly Fault[] = [
  {
    // At three, since a world of the simulation has no hundred users.
    name: 'unique failures end the run before the deletions',
    edits: [
      [
        'sync/failed-writes.ts',
        'return { finding: { retry } }',
        'return { finding: { retry }, error: before + changes.length > 2 ? tooMany(failure, pass.options.policy, noneWithheld) : undefined }',
      ],
    ],
  },
  {
    name: 'refused addresses are not tried again',
    edits: [
      [
        'sync/settle.ts',
        'yield* applyUsers(pass, users, onFailure)',
        'if (false) yield* applyUsers(pass, users, onFailure)',
      ],
    ],
  },
  {
    name: 'swapped addresses are not settled together',
    edits: [['sync/settle.ts', 'if (standing.size < 2)', 'if (standing.size >= 0)']],
  },
  {
    name: 'a taken number is a lease',
    edits: [
      ['db/lease.ts', 'if (taken !== undefined) return taken', 'return taken ?? { holder: undefined }'],
    ],
  },
  {
    name: 'what a trigger changed counts as written',
    edits: [
      [
        'sync/writer.ts',
        'altered: await readAltered(tx, all)',
        'altered: (await readAltered(tx, all)).slice(all.length)',
      ],
    ],
  },
  {
    name: 'what a trigger changes is written in each run',
    edits: [['sync/altered.ts', 'if (known.size === 0) return', 'if (known.size >= 0) return']],
  },
  {
    name: 'another table taken for the same',
    edits: [['sync/step-up.ts', 'if (!state.isSameTable)', 'if (false)']],
  },
]
