// `status`: is the copy right and since when, what is open, and what the last runs did. Read from the history of runs
// alone; it never asks Clerk.

import { readCatalog } from '../db/catalog.ts'
import { readLastSuccess, readOpenItems } from '../db/history.ts'
import { readHold } from '../db/hold.ts'
import { readRuns } from '../db/runs.ts'
import { readState } from '../db/state.ts'
import { countRows } from '../db/users.ts'
import type { CommandDatabase } from './database.ts'
import type { Output } from './output.ts'
import { statusLines } from './status-text.ts'
import { readWithheld } from './withheld.ts'

export interface StatusFlags {
  /** How many runs. */
  readonly limit: number
  /** True if every withheld deletion is named. */
  readonly all: boolean
  /** True if the withheld are shown with the names in their rows. */
  readonly showValues: boolean
}

/** Shows the newest runs, newest first. */
export async function statusCommand(
  commandDatabase: CommandDatabase,
  output: Output,
  flags: StatusFlags,
): Promise<void> {
  const database = commandDatabase.open({ connections: 1, applicationName: 'clerk-sync status' })
  const { db } = database
  const catalog = await readCatalog(db)
  const state = await readState(db, catalog)
  const status = {
    instanceId: state?.instanceId ?? null,
    rows: await countRows(db, catalog),
    deletionHold: (await readHold(db, catalog)) ?? null,
    lastSuccess: (await readLastSuccess(db, catalog)) ?? null,
    open: await readOpenItems(db, catalog),
    withheld: await readWithheld(database, catalog, state?.difference, flags),
    runs: await readRuns(db, flags.limit, catalog),
  }
  output.json(status)
  for (const line of statusLines(status, new Date())) output.say(line)
  if (!output.isText && !output.hasJson) output.log.info(status, 'status')
}
