// What a command says, and where: a terminal gets text and a progress bar, anything else one JSON line per event. With
// `--json` stdout carries exactly one JSON object, and everything else goes to stderr.

import { isSyncError } from '../errors.ts'
import type { Log } from '../log.ts'
import { createLog } from '../log.ts'
import { createProgress, type Progress } from '../progress.ts'

export interface Output {
  readonly log: Log
  readonly progress: Progress
  /** True if a person reads along. */
  readonly isTerminal: boolean
  /** A line for a person; nothing where none reads along. */
  say(line: string): void
  /** The one JSON object of `--json`; nothing without it. */
  json(value: unknown): void
}

/** The output of one command. */
export function createOutput(options: { json: boolean; logLevel: string }): Output {
  const isTerminal = !options.json && process.stdout.isTTY === true
  return {
    isTerminal,
    // On a terminal the summary says what the log's info lines say.
    log: createLog({
      level: isTerminal && options.logLevel === 'info' ? 'warn' : options.logLevel,
      destination: isTerminal || options.json ? 'stderr' : 'stdout',
      pretty: isTerminal,
    }),
    progress: isTerminal ? createProgress(process.stderr) : { start() {}, update() {}, stop() {} },
    say(line) {
      if (isTerminal) process.stdout.write(`${line}\n`)
    },
    json(value) {
      if (options.json) process.stdout.write(`${JSON.stringify(value)}\n`)
    },
  }
}

/** An error with its way out, as text on stderr: for what goes wrong before there is a log. */
export function sayError(error: unknown): void {
  if (!isSyncError(error)) {
    process.stderr.write(`error: ${error instanceof Error ? error.stack : 'unknown'}\n`)
    return
  }
  process.stderr.write(`error: ${error.message}\n${error.hint === undefined ? '' : `${error.hint}\n`}`)
}
