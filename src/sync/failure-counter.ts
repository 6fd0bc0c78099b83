// What a pass has to remember of refused writes while it goes on: a number of users for each reason.

/** Who was refused, by the reason: very many failures for one reason are about the table. */
export class FailureCounter {
  private readonly users = new Map<string, Set<string>>()
  /** How many users each unique constraint has refused with their pages. */
  private readonly unique = new Map<string, number>()

  /** Counts a user. Returns how many have been refused for this reason, this one included. */
  add(clerkId: string, reason: string): number {
    const users = this.users.get(reason) ?? new Set()
    this.users.set(reason, users.add(clerkId))
    return users.size
  }

  /** Counts users that a unique constraint refuses with their page. */
  addUnique(constraint: string, users: number): void {
    this.unique.set(constraint, this.uniqueUsers(constraint) + users)
  }

  /** How many users a unique constraint has refused with their pages. */
  uniqueUsers(constraint: string): number {
    return this.unique.get(constraint) ?? 0
  }
}
