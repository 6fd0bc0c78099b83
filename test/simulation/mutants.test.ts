import { expect, test } from 'vitest'
import { requireFit } from '../support/faulty-copy.ts'
import { mutants } from './mutants.ts'

test('each fault that the simulation has to find has its place in the code', async () => {
  expect(mutants.length).toBeGreaterThanOrEqual(12)
  for (const { edits } of mutants) await requireFit(edits)
})
