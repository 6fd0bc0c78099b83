// The progress bar of a pass on a terminal. The rule: it only ever touches its own line, and leaves nothing behind; on
// anything but a terminal it is silent. It uses no colour, with or without NO_COLOR.
import { SingleBar } from 'cli-progress'

export interface ProgressBar {
  /** Begins, or begins again; `total` is an estimate in users, undefined where it is unknown. */
  start(total: number | undefined): void
  /** Users seen since `start`. */
  update(seen: number): void
  /** Shows what is waited for in place of rate and time left, until it is undefined again. */
  note(text: string | undefined): void
  /** Lets `write` write lines to the terminal: above the bar, which is drawn again below them. */
  above(write: () => void): void
  /** Removes the line. Without it the process does not end. */
  stop(): void
}

/** A progress that shows nothing. */
export const noProgress: ProgressBar = {
  start() {},
  update() {},
  note() {},
  above: (write) => write(),
  stop() {},
}

/** A bar with users per second and time left on a terminal, nothing otherwise. */
export function createProgress(stream: NodeJS.WriteStream): ProgressBar {
  if (!stream.isTTY) return noProgress
  let total: number | undefined
  let note: string | undefined
  const bar = new SingleBar({
    stream: withoutSavedCursor(stream),
    clearOnComplete: true,
    // After lines were written above it, the same text has to be drawn again.
    forceRedraw: true,
    // `true` cuts the line to the width; `false` would switch the terminal's own wrapping off, for good after a crash.
    linewrap: true,
    format: (_options, { value, startTime, maxWidth }) =>
      // The last column stays free: some terminals wrap as soon as it is written.
      progressLine(value, total, Date.now() - startTime, maxWidth - 1, note),
  })
  return {
    start(expected) {
      bar.stop()
      total = expected
      bar.start(expected ?? 0, 0)
    },
    update: (seen) => bar.update(seen),
    note(text) {
      note = text
      // Before the first page, too, a person wonders what goes on.
      if (text !== undefined && !bar.isActive) bar.start(0, 0)
    },
    above(write) {
      if (bar.isActive) stream.write(eraseLine)
      write()
    },
    stop: () => bar.stop(),
  }
}

/** To the first column, and the line is empty. */
const eraseLine = '\r\x1b[2K'
const barWidthMax = 30
const barWidthMin = 8
/** Before that a rate says nothing. */
const rateAfterMs = 500
const count = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

/** One line of at most `width` characters. What does not fit is left out: first the bar, then from the right. */
export function progressLine(
  seen: number,
  total: number | undefined,
  elapsedMs: number,
  width: number,
  note?: string,
): string {
  // Before the first page there is nothing to say of users.
  if (note !== undefined && seen === 0 && total === undefined) return note.slice(0, width)
  // Clerk's count lags behind its listing; beyond it the total is worth nothing.
  const known = total !== undefined && total > 0 && seen <= total ? total : undefined
  const facts = [
    known === undefined
      ? `${count.format(seen)} users`
      : `${count.format(seen)}/${count.format(known)} users`,
  ]
  if (note !== undefined) facts.push(note)
  else if (seen > 0 && elapsedMs >= rateAfterMs) {
    const perSecond = (seen * 1000) / elapsedMs
    facts.push(`${count.format(perSecond)}/s`)
    if (known !== undefined) facts.push(`${duration((known - seen) / perSecond)} left`)
  }
  // What is waited for is worth more than how far it is.
  if (note !== undefined && facts.join('  ').length > width) facts.shift()
  while (facts.length > 1 && facts.join('  ').length > width) facts.pop()
  const text = facts.join('  ')
  if (known === undefined) return text.slice(0, width)

  const percent = `${String(Math.floor((seen / known) * 100)).padStart(3)} %`
  const room = Math.min(barWidthMax, width - text.length - percent.length - 4)
  if (room < barWidthMin) return text.slice(0, width)
  const filled = Math.floor((seen / known) * room)
  return `${'█'.repeat(filled)}${'░'.repeat(room - filled)}  ${percent}  ${text}`
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  const minutes = Math.ceil(whole / 60)
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/**
 * The library saves the cursor's place at the start and goes back there at the end. The place is the screen's: once a
 * log line has scrolled the text, going back would erase that line instead of the bar.
 */
function withoutSavedCursor(stream: NodeJS.WriteStream): NodeJS.WritableStream {
  const forwarding = {
    isTTY: true,
    get columns() {
      return stream.columns
    },
    write: (text: string, ...rest: never[]) =>
      text === '\x1b7' || text === '\x1b8' ? true : stream.write(text, ...rest),
  }
  return forwarding as unknown as NodeJS.WritableStream
}
