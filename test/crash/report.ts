// What a run of kills or outages came to, as a person reads it: how often which moment was met, what was violated, and
// the command that repeats it.

import { phases } from './kill-points.ts'
import type { KillsResult } from './kills.ts'
import type { OutagesResult } from './outages.ts'

const violationsShown = 10

/** The result in words. */
export function describeKills(result: KillsResult, seed: number): string {
  const { kills, missed, runs, countsCompared, webhooks } = result
  const woke = kills.filter((kill) => kill.woke).length
  return [
    `${kills.length} kills (${tally(kills, (kill) => kill.by)}), ${missed} runs ended before`,
    ...table(kills),
    `  met by ${tally(kills, (kill) => kill.moment.kind)}; ${woke} runs slept and woke after another had taken over`,
    `  ledger: ${pairs(runs)}; ${countsCompared} reports compared; ${webhooks} webhooks answered with 200`,
    ...violationLines(
      result.violations,
      `npm run crash -- --kills ${kills.length + 1} --outages 0 --seed ${seed}`,
    ),
    '',
  ].join('\n')
}

/** The result in words. */
export function describeOutages(result: OutagesResult, seed: number): string {
  const { outages, missed, exits, countsCompared, webhooks } = result
  return [
    `${outages.length} outages (${tally(outages, (outage) => outage.by)}; ${tally(outages, (outage) => outage.hit)}), ` +
      `${missed} runs ended before`,
    ...table(outages),
    `  exit codes of sync: ${pairs(exits)}; ${countsCompared} reports compared; ${webhooks} webhooks answered with 200`,
    ...violationLines(
      result.violations,
      `npm run crash -- --kills 0 --outages ${outages.length + 1} --seed ${seed}`,
    ),
    '',
  ].join('\n')
}

function table(met: readonly { phase: string; within: string }[]): string[] {
  return phases.flatMap((phase) => {
    const all = met.filter((each) => each.phase === phase)
    if (all.length === 0) return []
    return `  ${phase.padEnd(21)}${String(all.length).padStart(4)}   by transaction: ${tally(all, ({ within }) => within)}`
  })
}

function violationLines(violations: readonly string[], command: string): string[] {
  if (violations.length === 0) return []
  const more = violations.length - violationsShown
  return [
    `VIOLATED (${violations.length}):`,
    ...violations.slice(0, violationsShown).map((each) => `  ${each}`),
    ...(more > 0 ? [`  … and ${more} more`] : []),
    `repeat it: ${command}`,
  ]
}

function tally<T>(all: readonly T[], by: (each: T) => string): string {
  const counts: Record<string, number> = {}
  for (const each of all) counts[by(each)] = (counts[by(each)] ?? 0) + 1
  return pairs(counts)
}

function pairs(counts: Readonly<Record<string, number>>): string {
  const entries = Object.entries(counts).map(([name, count]) => `${name} ${count}`)
  return entries.length === 0 ? 'none' : entries.join(', ')
}
