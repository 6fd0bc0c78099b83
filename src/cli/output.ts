// What a command says, and where: text for a person or one JSON line per event, by default as stdout is a terminal or not.
// With `--json` stdout carries exactly one JSON object, and everything else goes to stderr.
import { isSyncError } from '../errors.ts'
import type { Log } from '../log.ts'
import { createLog } from '../log.ts'
import { createProgress, noProgress, type ProgressBar } from '../progress.ts'
import type { LogRecord } from './worker-text.ts'

export type Format = 'text' | 'json'

export interface Output {
  readonly log: Log
  readonly progress: ProgressBar
  /** True if the output is text for a person. */
  readonly isText: boolean
  /** True with `--json`: stdout carries one JSON object. */
  readonly hasJson: boolean
  /** A line for a person; nothing where the output is JSON. */
  say(line: string): void
  /** The same for what went wrong, on stderr. */
  sayError(line: string): void
  /** The one JSON object of `--json`; nothing without it. */
  json(value: unknown): void
}

/**
 * The output of one command. A service has no summary: as text, too, its log is all there is, in the lines that
 * `serviceText` makes of its records.
 */
export function createOutput(options: {
  json: boolean
  /** Undefined: text on a terminal, unless `json`. */
  format?: Format | undefined
  logLevel: string
  serviceText?: (record: LogRecord) => readonly string[]
}): Output {
  const isText = (options.format ?? (!options.json && process.stdout.isTTY ? 'text' : 'json')) === 'text'
  const isService = options.serviceText !== undefined
  const progress = isText && !isService ? createProgress(process.stderr) : noProgress
  const write = (stream: NodeJS.WriteStream, line: string) =>
    isText &&
    progress.above(
      () =>
        void stream.write(
          `${line
            .split('\n')
            .map((each) => wrapped(each, stream.columns))
            .join('\n')}\n`,
        ),
    )
  const { serviceText } = options
  const linesOf =
    serviceText &&
    ((record: LogRecord) =>
      serviceText(record).flatMap((line) => wrapped(line, process.stdout.columns).split('\n')))
  return {
    isText,
    hasJson: options.json,
    // The summary says what the log's info lines say.
    log: createLog({
      level: isText && options.logLevel === 'info' && !isService ? 'warn' : options.logLevel,
      destination: (isText && !isService) || options.json ? 'stderr' : 'stdout',
      pretty: isText,
      linesOf: isText ? linesOf : undefined,
      around: progress.above,
    }),
    progress,
    say: (line) => void write(options.json ? process.stderr : process.stdout, line),
    sayError: (line) => void write(process.stderr, line),
    json(value) {
      if (options.json) process.stdout.write(`${JSON.stringify(value)}\n`)
    },
  }
}

/** The line broken at spaces, as a terminal of that width needs it; as it is without a width, as in a pipe. */
function wrapped(line: string, width: number | undefined): string {
  // A terminal that does not say how wide it is says 0. What is coloured has no blanks to speak of, and its length is not the length that is seen.
  if (width === undefined || width === 0 || line.length <= width || line.includes('\x1b')) return line
  const [blanks = ''] = /^ */.exec(line) ?? []
  // What follows the time of a log line stands in one column.
  const indent = ' '.repeat((/^(?:\d\d:\d\d:\d\d )? */.exec(line)?.[0] ?? '').length)
  const lines = [blanks]
  for (const word of line.trimStart().split(' ')) {
    const last = lines.at(-1) ?? ''
    const joined = last.trim() === '' ? `${last}${word}` : `${last} ${word}`
    if (joined.length <= width || last.trim() === '') lines[lines.length - 1] = joined
    else lines.push(`${indent}${word}`)
  }
  return lines.join('\n')
}

/**
 * Keeps the process alive where its output cannot be written: the reader has ended, as in `| head`, or the disk is full. A
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
