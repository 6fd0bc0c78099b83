// The progress bar as a terminal would show it: what stands on the line, and that nothing is left of it.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createProgress, progressLine } from '../src/progress.ts'

function terminal(options: { isTTY?: boolean; columns?: number } = {}) {
  const writes: string[] = []
  const stream = {
    isTTY: true,
    columns: 80,
    ...options,
    write: (text: string) => {
      writes.push(text)
      return true
    },
  }
  /** What the last line looks like, as the control codes in use leave it. */
  function line(): string {
    let [text, column] = ['', 0]
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the control codes
    for (const [token] of writes.join('').matchAll(/\x1b\[(\d*)([A-Z])|[\s\S]/g)) {
      if (token === '\x1b[1G') column = 0
      else if (token === '\x1b[0K') text = text.slice(0, column)
      else if (token === '\x1b[2K') text = ''
      else if (token === '\n') [text, column] = ['', 0]
      else if (token.startsWith('\x1b')) throw new Error(`unknown code ${JSON.stringify(token)}`)
      else {
        text = text.slice(0, column) + token + text.slice(column + 1)
        column++
      }
    }
    return text
  }
  return { stream: stream as unknown as NodeJS.WriteStream, writes, line }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('createProgress', () => {
  it('writes nothing where there is no terminal, and keeps no timer', () => {
    const { stream, writes } = terminal({ isTTY: false })
    const progress = createProgress(stream)
    progress.start(10)
    progress.update(5)
    progress.stop()
    expect(writes).toEqual([])
    expect(vi.getTimerCount()).toBe(0)
  })

  it('shows users per second and the time left', () => {
    const { stream, line } = terminal()
    const progress = createProgress(stream)
    progress.start(2000)
    vi.advanceTimersByTime(1000)
    progress.update(500)
    vi.advanceTimersByTime(1000)
    progress.update(1000)
    vi.advanceTimersByTime(200)
    expect(line()).toMatch(/^█{15}░{15} {3}50 % {2}1,000\/2,000 users {2}4\d\d\/s {2}3 s left$/)
    progress.stop()
  })

  it('cleans up its line, and keeps no timer', () => {
    const { stream, line, writes } = terminal()
    const progress = createProgress(stream)
    progress.start(100)
    progress.update(100)
    progress.stop()
    expect(line()).toBe('')
    expect(writes.join('')).not.toContain('\n')
    expect(vi.getTimerCount()).toBe(0)
    progress.stop()
    expect(line()).toBe('')
  })

  it('leaves the rest of the terminal alone: no hidden cursor, no saved place, no wrapping switched off, no colour', () => {
    const { stream, writes } = terminal()
    const progress = createProgress(stream)
    progress.start(undefined)
    progress.update(7)
    vi.advanceTimersByTime(1000)
    progress.stop()
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the control codes
    expect(writes.join('')).not.toMatch(/\x1b(7|8|\[\?|\[\d*m)/)
  })

  it('can begin again with another total', () => {
    const { stream, line } = terminal()
    const progress = createProgress(stream)
    progress.update(3)
    progress.start(undefined)
    progress.update(40)
    progress.start(1000)
    expect(line()).toContain('0/1,000 users')
    progress.stop()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('never fills a narrow terminal', () => {
    for (const columns of [1, 10, 20, 30, 40, 60, 200]) {
      const { stream, line } = terminal({ columns })
      const progress = createProgress(stream)
      progress.start(1_000_000)
      vi.advanceTimersByTime(5000)
      progress.update(123_456)
      vi.advanceTimersByTime(200)
      expect(line().length).toBeLessThan(columns)
      progress.stop()
    }
  })
})

describe('progressLine', () => {
  it('shows what is waited for in place of rate and time left, and alone where there is little room', () => {
    const note = "waiting for the end of Clerk's rate limit, 18 s"
    expect(progressLine(3217, 3217, 60_000, 99, note)).toBe(
      `${'█'.repeat(24)}  100 %  3,217/3,217 users  ${note}`,
    )
    expect(progressLine(3217, 3217, 60_000, 50, note)).toBe(note)
    expect(progressLine(0, undefined, 60_000, 79, note)).toBe(note)
  })

  it.each([
    ['an unknown total', 1234, undefined, 2000, 80, '1,234 users  617/s'],
    ['a total of 0', 0, 0, 2000, 80, '0 users'],
    ['a total lower than what was seen', 1050, 1000, 1000, 80, '1,050 users  1,050/s'],
    ['nothing seen', 0, 100, 0, 80, `${'░'.repeat(30)}    0 %  0/100 users`],
    ['everything seen', 100, 100, 1000, 80, `${'█'.repeat(30)}  100 %  100/100 users  100/s  0 s left`],
    ['almost everything', 999, 1000, 100, 80, `${'█'.repeat(29)}░   99 %  999/1,000 users`],
    ['minutes', 1000, 100_000, 1000, 40, '1,000/100,000 users  1,000/s  2 min left'],
    ['hours', 100, 1_000_000, 1000, 50, '100/1,000,000 users  100/s  2 h 47 min left'],
    ['little room', 1000, 100_000, 1000, 30, '1,000/100,000 users  1,000/s'],
    ['less room', 1000, 100_000, 1000, 20, '1,000/100,000 users'],
    ['no room', 1000, 100_000, 1000, 5, '1,000'],
  ])('with %s', (_case, seen, total, elapsedMs, width, line) => {
    expect(progressLine(seen, total, elapsedMs, width)).toBe(line)
  })
})
