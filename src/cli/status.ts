// `status`: is the copy right and since when, what is open, and what the last runs did. Read from the history of runs
// alone; it never asks Clerk.
import { readLastSuccess, readOpenItems } from '../db/history.ts'
import { readHold } from '../db/hold.ts'
import { readRuns } from '../db/ledger.ts'
import { readShape } from '../db/shape.ts'
import { readState } from '../db/state.ts'
import { countRows } from '../db/users.ts'
import type { Output } from './output.ts'
import { statusLines } from './status-text.ts'
import type { Target } from './target.ts'

/** Shows the newest runs, newest first. */
export async function statusCommand(target: Target, output: Output, limit: number): Promise<void> {
  const { db } = target.open({ connections: 1, applicationName: 'clerk-sync status' })
  const shape = await readShape(db)
  const state = await readState(db, shape)
  const status = {
    instanceId: state?.instanceId ?? null,
    rows: await countRows(db, shape),
    deletionHold: (await readHold(db, shape)) ?? null,
    lastSuccess: (await readLastSuccess(db, shape)) ?? null,
    open: await readOpenItems(db, shape),
    runs: await readRuns(db, limit, shape),
  }
  output.json(status)
  for (const line of statusLines(status, new Date())) output.say(line)
  if (!output.isText && !output.hasJson) output.log.info(status, 'status')
}
