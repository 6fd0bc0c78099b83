// Which Clerk instance a table belongs to. A key of another instance would see every row as absent, so it is refused
// before anything is written. Reads only; the binding itself is written under the lease (reconcile.ts).
import type { ClerkClient } from '../clerk/api.ts'
import type { TableCatalog } from '../db/catalog.ts'
import type { Executor } from '../db/database.ts'
import { readState } from '../db/state.ts'
import { readSampleIds } from '../db/users.ts'
import { SyncError } from '../errors.ts'

/** As many ids as Clerk takes in one request. */
const sampleSize = 100

export interface InstanceCheck {
  readonly instanceId: string
  /** True if the table is bound to it already. */
  readonly isBound: boolean
  /** The instance the table was bound to and which the operator lets go. */
  readonly replaced: string | undefined
}

/**
 * Asks Clerk which instance the key belongs to, and holds it against the table. Throws `refused` for another instance
 * than the bound one, and for a table with rows of which the instance knows fewer than half, unless `acceptInstance`
 * names it.
 */
export async function checkInstance(
  clerk: ClerkClient,
  executor: Executor,
  catalog: TableCatalog,
  acceptInstance: string | undefined,
): Promise<InstanceCheck> {
  const { id: instanceId } = await clerk.fetchInstance()
  if (acceptInstance !== undefined && acceptInstance !== instanceId) {
    throw new SyncError('refused', `--accept-instance names another instance than the key's, ${instanceId}`, {
      hint: 'Set CLERK_SECRET_KEY to a key of the instance that you want to accept.',
      facts: { instanceId },
    })
  }
  const bound = (await readState(executor, catalog))?.instanceId
  if (bound === instanceId) return { instanceId, isBound: true, replaced: undefined }
  if (bound !== undefined) {
    if (acceptInstance === instanceId) return { instanceId, isBound: false, replaced: bound }
    throw new SyncError('refused', `the key is of instance ${instanceId}, the table belongs to ${bound}`, {
      hint: `Set CLERK_SECRET_KEY to a key of ${bound}, or, to let the table follow the other instance: npm run sync -- --accept-instance ${instanceId}`,
      facts: { instanceId, bound },
    })
  }
  if (acceptInstance === undefined) await requireKnownRows(clerk, executor, catalog, instanceId)
  return { instanceId, isBound: false, replaced: undefined }
}

/**
 * A table that was never bound but has rows must be about the users of this instance. A single one that it knows says
 * little: a developer's own user is in the development instance and in the production table.
 */
async function requireKnownRows(
  clerk: ClerkClient,
  executor: Executor,
  catalog: TableCatalog,
  instanceId: string,
): Promise<void> {
  const sample = await readSampleIds(executor, sampleSize, catalog)
  if (sample.length === 0) return
  const asked = new Set(sample)
  const answer = await clerk.listUsers({ limit: sampleSize, userIds: sample })
  const returned = answer.users.flatMap((user) => (user.kind === 'unreadable' ? [] : [user.clerkId]))
  const known = new Set(returned.filter((id) => asked.has(id))).size
  if (known >= sample.length / 2) return
  const verdict = known === 0 ? 'knows none of them' : 'knows fewer than half of them'
  const numbers = `Clerk knows ${known} of ${sample.length} rows of the users table`
  throw new SyncError('refused', `${numbers}: instance ${instanceId} ${verdict}`, {
    hint: `Is CLERK_SECRET_KEY of the instance that your app uses (development or production)? If so: npm run sync -- --accept-instance ${instanceId}`,
    facts: { instanceId, rowsAsked: sample.length, rowsKnown: known },
  })
}

/** Throws `refused` if a run of a single user would move the table to another instance. */
export function requireSameInstance({ instanceId, replaced }: InstanceCheck): void {
  // Such a run has no lease: a run of the old instance may be under way, and would write and delete in the other one's table.
  if (replaced === undefined) return
  throw new SyncError('refused', 'a single user does not move the table to another instance', {
    hint: `Move the whole table first: npm run sync -- --accept-instance ${instanceId}`,
    facts: { instanceId, bound: replaced },
  })
}
