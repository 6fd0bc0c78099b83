// A fault put in on purpose: its name, and what stands where in the code instead.
import type { Edit } from '../support/faulty-copy.ts'

export interface Mutant {
  readonly name: string
  readonly edits: readonly Edit[]
}
