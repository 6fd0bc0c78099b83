// `status`: what the last runs did and what they found, read from the ledger alone. It never asks Clerk.
import { readHold } from '../db/hold.ts'
import { type PastRun, readRuns } from '../db/ledger.ts'
import { readShape } from '../db/shape.ts'
import { readState } from '../db/state.ts'
import { countRows } from '../db/users.ts'
import { reasonOf } from '../sync/allowance.ts'
import type { Output } from './output.ts'
import type { Target } from './target.ts'

/** Shows the newest runs, newest first. */
export async function statusCommand(target: Target, output: Output, limit: number): Promise<void> {
  const { db } = target.open({ connections: 1, applicationName: 'clerk-sync status' })
  const shape = await readShape(db)
  const state = await readState(db, shape)
  const runs = await readRuns(db, limit, shape)
  const deletionHold = (await readHold(db, shape)) ?? null
  const status = {
    instanceId: state?.instanceId ?? null,
    rows: await countRows(db, shape),
    deletionHold,
    runs,
  }
  output.json(status)
  output.say(`instance ${status.instanceId ?? 'not bound yet'}, ${status.rows} rows`)
  if (deletionHold !== null)
    output.say(`deletions wait for an operator's approval: ${reasonOf(deletionHold)}`)
  if (runs.length === 0) output.say('no run yet: npm run sync')
  for (const run of runs) for (const line of linesOf(run)) output.say(line)
  if (!output.isTerminal) output.log.info(status, 'status')
}

function linesOf(run: PastRun): string[] {
  const counts = Object.entries(run.counts ?? {})
    .filter(([key, count]) => key === 'seen' || count > 0)
    .map(([key, count]) => `${count} ${key}`)
    .join(', ')
  const when = run.startedAt.slice(0, 19).replace('T', ' ')
  const rejected = run.rejected ?? []
  return [
    `#${run.runId}  ${when}  ${run.pass} pass by ${run.trigger}: ${run.status}${counts === '' ? '' : `, ${counts}`}`,
    ...(run.error === null ? [] : [`    ${run.error.message}`]),
    ...(run.notes ?? []).map((note) => `    ${note}`),
    ...rejected.slice(0, 5).map((each) => `    rejected ${each.clerkId}: ${each.reason}`),
    ...(rejected.length > 5 ? [`    … and ${rejected.length - 5} more (--json shows up to 100)`] : []),
  ]
}
