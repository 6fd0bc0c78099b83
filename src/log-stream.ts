// Where log lines go: a descriptor, written before the call returns. The rule: a line that cannot be written (a full disk,
// a reader that has gone) is dropped and counted, and the caller does not notice; a run or a webhook must not fail
// because of what it says.
import { writeSync } from 'node:fs'

export interface LogStream {
  write(line: string): void
}

/** How long to wait for a reader that is behind before asking again. */
const busyMs = 20

/**
 * Writes lines to `fd`. `onFirstLoss` is called once, when the first line could not be written; `onRecovery` before the
 * first line that can be written again, with the number of lines lost: what it logs goes before that line.
 */
export function openLogStream(
  fd: number,
  { onFirstLoss, onRecovery }: { onFirstLoss(code: string): void; onRecovery(lost: number): void },
): LogStream {
  let lost = 0
  let isFirstLoss = true
  let isLineTorn = false

  function tryWrite(line: string): boolean {
    const bytes = Buffer.from(isLineTorn ? `\n${line}` : line)
    try {
      writeWhole(fd, bytes, () => {
        isLineTorn = true
      })
      isLineTorn = false
      return true
    } catch (error) {
      if (isFirstLoss) {
        isFirstLoss = false
        onFirstLoss((error as NodeJS.ErrnoException).code ?? '')
      }
      return false
    }
  }

  return {
    write(line) {
      if (lost > 0) {
        const before = lost
        lost = 0
        onRecovery(before)
        // It could not be said, so this line would be lost too.
        if (lost > 0) {
          lost = before + 1
          return
        }
      }
      if (!tryWrite(line)) lost += 1
    },
  }
}

/** `onPart` is called with each part written, because it may throw halfway. */
function writeWhole(fd: number, bytes: Buffer, onPart: () => void): void {
  let written = 0
  while (written < bytes.length) {
    try {
      written += writeSync(fd, bytes, written)
      onPart()
    } catch (error) {
      // A pipe whose reader is behind: nothing is lost by waiting for it.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, busyMs)
    }
  }
}
