// The list by hand must not rot: a fault that has lost its place in the code stops `npm run mutate:sql`, weeks later.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { faults } from './faults.ts'

test('each fault has its place in the code, once, and changes something there', () => {
  const lost = faults.filter(({ edit: [file, search, replace] }) => {
    const text = readFileSync(new URL(`../../src/${file}`, import.meta.url), 'utf8')
    return text.split(search).length !== 2 || search === replace
  })
  expect(lost).toEqual([])
})

test('each fault has a name of its own', () => {
  const names = faults.map(({ name }) => name)
  expect(names).toEqual([...new Set(names)])
})
