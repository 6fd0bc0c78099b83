// What a run that stands still is said to wait for, on a clock that is moved by hand.
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Waits, watchWaits } from '../../src/cli/waits.ts'
import { logTo } from '../../src/log.ts'
import { noProgress } from '../../src/progress.ts'

let shown: string | undefined
let logged: Record<string, unknown>[]
let waits: Waits

beforeEach(() => {
  vi.useFakeTimers()
  logged = []
  const progress = {
    ...noProgress,
    note(text: string | undefined) {
      shown = text
    },
  }
  const log = logTo({ write: (line: string) => void logged.push(JSON.parse(line)) }, 'info')
  waits = watchWaits({ progress, log })
})
afterEach(() => {
  waits.stop()
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
})

test('the phases beside the pages are named, with the rows before them', () => {
  vi.advanceTimersByTime(500)
  expect(shown).toBe('asking Clerk which instance the key belongs to')
  waits.phase('reading')
  vi.advanceTimersByTime(500)
  expect(shown).toBeUndefined()
  waits.phase('deleting', 3214)
  vi.advanceTimersByTime(500)
  expect(shown).toBe('deleting rows, 3,214 left')
})

test('where nothing outside is waited for and nothing comes, it is Postgres, in the log after ten seconds', () => {
  waits.phase('deleting', 3214)
  vi.advanceTimersByTime(5000)
  expect(shown).toBe('deleting rows, 3,214 left')
  vi.advanceTimersByTime(10_000)
  expect(shown).toBe('waiting for Postgres, 11 s')
  expect(logged).toMatchObject([{ msg: 'waiting', waitingFor: 'Postgres', phase: 'deleting', seconds: 10 }])
  waits.phase('deleting', 3194)
  vi.advanceTimersByTime(500)
  expect(shown).toBe('deleting rows, 3,194 left')
})

test('a wait for Clerk is never taken for one for Postgres', () => {
  const answered = waits.begin("Clerk's answer (/users)")
  vi.advanceTimersByTime(60_000)
  expect(shown).toBe("waiting for Clerk's answer (/users), 60 s")
  answered()
  vi.advanceTimersByTime(5000)
  expect(shown).toBe('asking Clerk which instance the key belongs to')
  expect(logged).toHaveLength(1)
})
