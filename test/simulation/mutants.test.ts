import { expect, test } from 'vitest'
import { lostPlaces } from '../support/faulty-copy.ts'
import { mutants } from './mutants.ts'

test('each fault that the simulation has to find has its place in the code', () => {
  expect(mutants.length).toBeGreaterThanOrEqual(12)
  expect(lostPlaces(mutants)).toEqual([])
})
