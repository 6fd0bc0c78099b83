// How an approval of deletions is written: a number, and the list that was looked at, named by its digest.
import { createHash } from 'node:crypto'

/** How an approval names a list: the first 32 bits, in hex, of a SHA-256 over the sorted ids. */
export function digestOf(ids: readonly string[]): string {
  return createHash('sha256')
    .update([...ids].sort().join('\n'))
    .digest('hex')
    .slice(0, 8)
}

/** The command that approves `count` deletions and, where a list is given, none outside of it. */
export function approvalCommand(count: number, list: readonly string[] | undefined): string {
  return `npm run sync -- --approve-deletes ${count}${list === undefined ? '' : `:${digestOf(list)}`}`
}
