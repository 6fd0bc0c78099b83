// A dry run as a person reads it: a head that counts, then the changes by kind, deletions first. Only so many of each
// kind are kept, so that the plan of a million users needs no more memory than that of a thousand.
import { styleText } from 'node:util'
import type { ShownChange } from '../sync/pass.ts'
import type { Report } from '../sync/report.ts'
import { changeLines } from './changes.ts'

/** How many changes of a kind are shown unless all are asked for: two screens. */
const shownMax = 20

const kinds = ['delete', 'withhold', 'update', 'create'] as const
type Kind = (typeof kinds)[number]

const headings: Record<Kind, string> = {
  delete: 'Will be deleted',
  withhold: 'Have no user in Clerk; their deletion will be withheld',
  update: 'Will be updated',
  create: 'Will be created',
}
const colours = { delete: 'red', withhold: 'red', update: 'yellow', create: 'green' } as const

export interface PlanText {
  /** Takes a change that the run would make. With `all` it is said at once, but for deletions. */
  add(change: ShownChange): void
  /** Says the plan. */
  end(report: Report): void
}

export function createPlanText(options: {
  showValues: boolean
  all: boolean
  say: (line: string) => void
}): PlanText {
  const { say } = options
  const kept: Record<Kind, string[]> = { delete: [], withhold: [], update: [], create: [] }
  const counts: Record<Kind, number> = { delete: 0, withhold: 0, update: 0, create: 0 }
  const text = (kind: Kind, change: ShownChange) => {
    const [first = '', ...columns] = changeLines(change, options.showValues)
    return [styleText(colours[kind], first, { stream: process.stdout }), ...columns].join('\n')
  }

  return {
    add(change) {
      // A newer version with the same values is counted, not listed: each sign-in makes one.
      if (change.kind === 'refresh') return
      const { kind } = change
      counts[kind]++
      if (options.all && 'change' in change) say(text(kind, change))
      else if (options.all || kept[kind].length < shownMax) kept[kind].push(text(kind, change))
    },
    end(report) {
      say(headOf(report))
      for (const kind of kinds) {
        if (kept[kind].length === 0) continue
        say(`\n${headings[kind]} (${number(counts[kind])}):`)
        for (const each of kept[kind]) say(each)
        const left = counts[kind] - kept[kind].length
        if (left > 0) say(`… and ${number(left)} more; --all shows every one`)
      }
      say('')
    },
  }
}

/** `Plan: 3,017 to create, 198 to update, 2 to delete.` */
function headOf({ counts }: Report): string {
  const parts = [
    [counts.created, 'to create'],
    [counts.updated, 'to update'],
    [counts.deleted, 'to delete'],
    [counts.withheld, counts.withheld === 1 ? 'deletion to be withheld' : 'deletions to be withheld'],
    [counts.refreshed, counts.refreshed === 1 ? 'version to refresh' : 'versions to refresh'],
    [counts.rejected, 'to be rejected'],
    [counts.pending, 'pending'],
  ] as const
  const named = parts.filter(([count]) => count > 0).map(([count, what]) => `${number(count)} ${what}`)
  const rest = `${number(counts.unchanged)} of ${number(counts.seen)} users unchanged`
  return named.length === 0
    ? `Plan: nothing to change; ${rest}.`
    : `Plan: ${named.join(', ')}; ${rest}. Nothing was written.`
}

const number = (count: number) => count.toLocaleString('en')
