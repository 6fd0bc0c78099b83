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

/** The output of one command. A service has no summary: on a terminal too its log is all there is. */
export function createOutput(options: { json: boolean; logLevel: string; isService?: boolean }): Output {
  const isTerminal = !options.json && process.stdout.isTTY === true
  return {
    isTerminal,
    // On a terminal the summary says what the log's info lines say.
    log: createLog({
      level:
        isTerminal && options.logLevel === 'info' && options.isService !== true ? 'warn' : options.logLevel,
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

/**
 * Keeps the process going where nobody can take what it says: the reader has gone, as in `| head`, or the disk is full. A
 * run under way still ends in good order and with its own exit code. Stderr says it once.
 */
export function outliveReaders(): void {
  process.stderr.on('error', () => {})
  process.stdout.once('error', ({ code = '' }: NodeJS.ErrnoException) => {
    process.stdout.on('error', () => {})
    // A reader that leaves knows that it has left.
    if (code !== 'EPIPE') process.stderr.write(`stdout cannot be written (${code})\n`)
  })
}

/** A person gets the URL to look at the rows with; a log gets it without its password. */
export function sayEmbedded(url: string, output: Output): void {
  output.say(`DATABASE_URL is not set. Embedded Postgres: ${url}`)
  output.say('It runs as long as this command; npm run db:up keeps it up.')
  const address = new URL(url)
  address.password = ''
  output.log.info({ url: address.href, folder: '.data/' }, 'embedded Postgres, as long as this command runs')
}

/**
 * What goes wrong before there is a log, on stderr: text for a person, else the line that the log would have had. Wrong
 * usage is always text, as the parser's own complaints are.
 */
export function sayError(error: unknown): void {
  const isText = isSyncError(error, 'usage') || (isSyncError(error) && process.stderr.isTTY === true)
  if (isText) process.stderr.write(`error: ${[error.message, error.hint].filter(Boolean).join('\n')}\n`)
  // Of an error that is not ours the log keeps type, codes and place: its message may carry anything.
  else
    createLog({ level: 'error', destination: 'stderr', pretty: false }).error(
      { err: error },
      'command failed',
    )
}
