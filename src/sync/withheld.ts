// Rows without a user that stay: because they wait for an operator, or because the policy keeps them.
import type { DeletionDecision, WithheldBecause } from './deletion-policy.ts'
import type { Finding } from './finding.ts'
import type { PassContext } from './pass.ts'

/** The rows that the decision does not let go stay. A single user's run knows no list: `namesList` is false. */
export async function* keepBack(
  pass: PassContext,
  { withheld, because, kept, distrusted }: DeletionDecision,
  namesList: boolean,
): AsyncGenerator<Finding, void> {
  if (distrusted.length > 0) {
    const note = `${distrusted.length} rows were on no page; too many users that Clerk counts were on none either, so they stay`
    yield { isIncomplete: true, notes: [note] }
  }
  if (kept.length > 0) {
    yield { kept }
    yield* pass.writer.leaveRows(pass, kept)
  }
  if (because !== undefined) yield* withhold(pass, withheld, because, namesList)
}

/** The rows wait for an operator. */
export async function* withhold(
  pass: PassContext,
  ids: readonly string[],
  because: WithheldBecause,
  namesList: boolean,
): AsyncGenerator<Finding, void> {
  yield { withheld: { ids, because, namesList } }
  yield* pass.writer.leaveRows(pass, ids)
}
