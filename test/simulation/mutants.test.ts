import { expect, test } from 'vitest'
import { withFaultyCopy } from '../support/faulty-copy.ts'
import { mutants } from './mutants.ts'

test('each fault that the simulation has to find has its place in the code', async () => {
  expect(mutants.length).toBeGreaterThanOrEqual(12)
  // Throws for an edit that does not fit.
  for (const { edits } of mutants) await withFaultyCopy(edits, async () => {})
})
