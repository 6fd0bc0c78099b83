// The list by hand must not rot: a fault that has lost its place in the code stops `npm run mutate:sql`, weeks later.
import { expect, test } from 'vitest'
import { edited, lostPlaces } from '../support/faulty-copy.ts'
import { faults } from './faults.ts'

test('each fault has its place in the code, once, and changes something there', () => {
  expect(lostPlaces(faults)).toEqual([])
})

test('each fault has a name of its own', () => {
  const names = faults.map(({ name }) => name)
  expect(names).toEqual([...new Set(names)])
})

const text = `
const first = sql\`select f(
    a,
  ) from t
    -- stale pages lose; see there
    where t.a > 1
      and t.b > 1\`

function second() {
  return sql\`select from t where t.a > 1\`
}
`

test.each([
  ['select f(a)', 'select f(\n    a,\n  )'],
  ['-- stale pages lose', 'where t.a > 1\n      and t.b > 1'],
  ['-- stale pages lose … b >', 'b >'],
  ['second … from t where', 'from t where'],
])('a place is found whatever its line breaks: %s', (place, found) => {
  expect(edited(text, place, '#')).toBe(text.replace(found, '#'))
})

test.each(['t.a > 1', 't.c', '-- stale page', '-- stale pages lose … t.c', 'third … t.a'])(
  'a place that is not there exactly once is an error: %s',
  (place) => {
    expect(() => edited(text, place, '#')).toThrow(`is not there exactly once: ${place}`)
  },
)
