// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is looked for has placeholders
// Faults in the code, each of which the simulation must find. One that no longer fits the code is an error.

import type { Fault } from '../support/faulty-copy.ts'
import { convergenceMutants } from './convergence-mutants.ts'
import { deletionMutants } from './deletion-mutants.ts'

export const mutants: readonly Fault[] = [
  ...deletionMutants,
  ...convergenceMutants,
  {
    name: 'guard removed',
    edits: [
      [
        'sync/deletion-policy.ts',
        'if (unasked.length > 0 || listed.length > allowance.allowed) {',
        'if (false) {',
      ],
      ['sync/allowance.ts', '+ rows <= hourlyMax', '>= 0'],
    ],
  },
  {
    name: 'hour forgotten by the guard',
    edits: [['sync/guard.ts', 'hourly - facts.recent', 'hourly']],
  },
  {
    name: '< for <= in a pass',
    edits: [['db/users.ts', "by === 'pass' ? '<=' : '<'", "'<'"]],
  },
  {
    name: '<= for < in a webhook',
    edits: [['db/users.ts', "by === 'pass' ? '<=' : '<'", "'<='"]],
  },
  {
    name: 'stale values win',
    edits: [['db/users.ts', '-- stale pages lose … u.clerk_updated_at ${older} d.clerk_updated_at', 'true']],
  },
  {
    name: 'fence gone',
    edits: [['db/write-transaction.ts', "options.deletionLock !== 'none'", 'false']],
  },
  {
    name: 'list by id not believed',
    edits: [['sync/candidates.ts', 'settled.filter((row) => !returned.has(row.clerkId))', 'settled']],
  },
  {
    name: 'not asked alone',
    edits: [['sync/candidates.ts', 'if (found.length > 0) return found', '']],
  },
  {
    name: 'canary ignored',
    edits: [
      ['sync/candidates.ts', 'canary === undefined || users.some((user) => user.clerkId === canary)', 'true'],
    ],
  },
  {
    name: 'incomplete pass deletes',
    edits: [['sync/absences.ts', '!findings.isComplete()', 'false']],
  },
  {
    name: 'unreadable user leaves the pass complete',
    edits: [['sync/page.ts', ', isIncomplete: true })', ' })']],
  },
  {
    name: 'tombstone ignored by inserts',
    edits: [['db/users.ts', '-- a tombstone blocks … where not', 'where true or not']],
  },
  {
    name: 'tombstone left out',
    edits: [['db/tombstones.ts', 'from deleted', 'from deleted where false']],
  },
  {
    name: 'candidate younger than the grace deleted',
    edits: [['sync/plan.ts', 'clock.startedAt - clock.graceMs', 'clock.startedAt']],
  },
  {
    name: 'grace held against the wrong clock',
    edits: [['sync/plan.ts', 'clock.startedAt - clock.graceMs', 'Date.now() - clock.graceMs']],
  },
  {
    name: 'watermark too new',
    edits: [['sync/full-pass.ts', ' - Math.max(watermarkLagMs, clock.graceMs)', '']],
  },
  {
    name: 'lease ignored',
    edits: [['db/write-transaction.ts', 'options.runId !== null', 'false']],
  },
  {
    name: 'page dropped',
    edits: [
      [
        'sync/page.ts',
        'await syncUsers(',
        'if (page.span.after === undefined || page.users.length > 1) await syncUsers(',
      ],
    ],
  },
  {
    name: 'error read as empty',
    edits: [['clerk/answers.ts', '? json.map(readUser) : undefined', '? json.map(readUser) : []']],
  },
  {
    name: 'any page goes on',
    edits: [['sync/pagination/cursor-pages.ts', 'if (!overlaps(page, pageQuery)) return undefined', '']],
  },
  {
    name: 'counts not compared',
    edits: [
      [
        'sync/incremental-pass.ts',
        'deletesRows(pass.options.policy) ? gap !== 0 : gap > 0',
        'gap < 0 && gap > 0',
      ],
    ],
  },
  {
    name: 'count lag believed',
    edits: [['sync/full-pass.ts', 'if (shortfall() > 0) countAfter', 'if (false) countAfter']],
  },
  {
    name: 'policy forgotten by a webhook',
    edits: [['sync/webhook.ts', 'if (!deletesRows(policy)) return', 'if (false) return']],
  },
  {
    name: 'dry run writes',
    edits: [
      [
        'sync/pass-context.ts',
        'request.dryRun ? preview :',
        'request.dryRun ? { ...preview, write: tableWriter.write } :',
      ],
    ],
  },
  {
    name: 'moved rows become candidates',
    edits: [['sync/absence-tracker.ts', 'this.candidates.delete(clerkId)', '']],
  },
  {
    name: 'report counts what was planned',
    edits: [
      [
        'sync/writer.ts',
        'return { ...written, ...rejectAlteredRows(altered, all) }',
        'return { ...written, updated: plan.updates.map(({ write }) => write.clerkId), ...rejectAlteredRows(altered, all) }',
      ],
    ],
  },
]
