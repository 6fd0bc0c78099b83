// The log: constant messages, facts as fields. The rule: nothing about a person passes. A failing query carries its
// parameters (emails) in message, detail and stack, so of an error that is not ours only its type and codes are kept.
import { createRequire } from 'node:module'
import pino, { type DestinationStream, type Logger } from 'pino'
import type { PrettyOptions } from 'pino-pretty'
import { asIdentifier, SyncError } from './errors.ts'
import { openLogStream } from './log-stream.ts'

export type Log = Logger

/** How many causes are followed; more is a loop. */
const causesMax = 8
const codeFields = ['code', 'constraint_name', 'table_name', 'column_name'] as const

// Never on purpose; should one slip into a field, it stops here. At the top and up to two levels down.
const privateFields = [
  ...['email', 'name', 'password', 'authorization', 'Authorization', 'databaseUrl', 'secretKey'],
].flatMap((field) => [field, `*.${field}`, `*.*.${field}`])

/**
 * A logger that writes JSON lines, or readable ones if `pretty` and pino-pretty is installed. Each line is written
 * before the call returns, so that a quick exit loses none. Where that fails the line is dropped; stderr and the first
 * line that gets through say so. `around` is handed each write, and carries it out. `linesOf` makes the text instead of
 * pino-pretty, from the record that was logged.
 */
export function createLog({
  level,
  destination,
  pretty,
  around = (write) => write(),
  linesOf,
}: {
  level: string
  destination: 'stdout' | 'stderr'
  pretty: boolean
  around?: (write: () => void) => void
  linesOf?: ((record: Readonly<Record<string, unknown>>) => readonly string[]) | undefined
}): Log {
  const format =
    linesOf === undefined
      ? pretty
        ? prettyFormat(destination)
        : undefined
      : (line: string) =>
          linesOf(JSON.parse(line))
            .map((each) => `${each}\n`)
            .join('')
  const stream = openLogStream(destination === 'stdout' ? 1 : 2, {
    onFirstLoss(code) {
      // Not the other way round: stdout may be about to carry the one report.
      if (destination === 'stdout') openSilentLog().error({ code }, 'the log on stdout cannot be written')
    },
    onRecovery(lost) {
      log.warn({ lost }, 'log lines could not be written')
    },
  })
  const text = (line: string) => (format === undefined ? line : format(line))
  const log = logTo({ write: (line) => around(() => void stream.write(text(line))) }, level)
  return log
}

/** A log on stderr that says nothing of its own losses. */
function openSilentLog(): Log {
  return logTo(openLogStream(2, { onFirstLoss() {}, onRecovery() {} }), 'error')
}

/** The same logger on any stream. */
export function logTo(stream: DestinationStream, level: string): Log {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: privateFields,
      // Child loggers' fields pass here, and only here.
      serializers: { err: describeIfError, error: describeIfError, cause: describeIfError },
      formatters: {
        level: (label) => ({ level: label }),
        // An error under any other key would be written with all it carries.
        log: (fields) =>
          Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, describeIfError(value)])),
      },
      hooks: {
        // Without a message pino takes the error's own.
        logMethod(args, method) {
          const [first, message] = args as unknown[]
          if (message !== undefined || typeof first !== 'object' || first === null)
            return method.apply(this, args)
          const fields = first instanceof Error ? { err: first } : first
          return method.apply(this, ['err' in fields ? [fields, 'error'] : [fields]].flat() as typeof args)
        },
      },
    },
    stream,
  )
}

/**
 * What may be logged of an error. Of ours (`SyncError`): kind, message, hint, facts. Of any other: its type, its codes
 * and, for a programming error, where it was thrown. Both with their causes.
 */
export function describeError(error: unknown): Record<string, unknown> {
  const causes: Record<string, unknown>[] = []
  let cause = causeOf(error)
  while (cause !== undefined && cause !== null && causes.length < causesMax) {
    causes.push(cause instanceof SyncError ? describeOwn(cause) : codesOf(cause))
    cause = causeOf(cause)
  }
  const chain = causes.length === 0 ? {} : { causes }
  if (error instanceof SyncError) return { ...describeOwn(error), ...chain }
  const frames = framesOf(error)
  return { ...codesOf(error), ...(frames === undefined ? {} : { stack: frames }), ...chain }
}

function describeIfError(value: unknown): unknown {
  if (value instanceof Error) return describeError(value)
  return Array.isArray(value) && value.some((one) => one instanceof Error)
    ? value.map(describeIfError)
    : value
}

function describeOwn(error: SyncError): Record<string, unknown> {
  return {
    type: error.name,
    kind: error.kind,
    message: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    ...(Object.keys(error.facts).length === 0 ? {} : { facts: error.facts }),
  }
}

function causeOf(error: unknown): unknown {
  if (!(error instanceof Error)) return undefined
  // Several addresses tried: each attempt failed alike, the first speaks for all.
  return error.cause ?? (error instanceof AggregateError ? error.errors[0] : undefined)
}

function codesOf(error: unknown): Record<string, unknown> {
  if (typeof error !== 'object' || error === null) return { type: typeof error }
  const described: Record<string, unknown> = { type: error.constructor?.name ?? 'Object' }
  for (const field of codeFields) {
    const value = (error as Record<string, unknown>)[field]
    const told = typeof value === 'number' ? value : asIdentifier(value)
    if (told !== undefined) described[field] = told
  }
  return described
}

/** The lines that say where, without the message above them. None for errors that come from outside. */
function framesOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || typeof error.stack !== 'string') return undefined
  if (/^(Postgres|Drizzle)/.test(error.constructor.name) || 'query' in error || 'code' in error)
    return undefined
  const lines = error.stack.split('\n')
  let first = lines.length
  while (first > 1 && /^ {4}at \S/.test(lines[first - 1] ?? '')) first--
  return first === lines.length ? undefined : lines.slice(first).join('\n')
}

/** How a line reads for a person; undefined where pino-pretty, a dependency for development, is not installed. */
function prettyFormat(destination: 'stdout' | 'stderr'): ((line: string) => string) | undefined {
  const terminal = process[destination]
  try {
    const { prettyFactory } = createRequire(import.meta.url)('pino-pretty') as {
      prettyFactory(options: PrettyOptions): (line: string) => string
    }
    return prettyFactory({
      // hasColors knows NO_COLOR.
      colorize: terminal.isTTY && terminal.hasColors(),
      translateTime: 'SYS:HH:MM:ss',
      // Else it replaces the codes of an error by a stack.
      errorLikeObjectKeys: [],
    })
  } catch {
    return undefined
  }
}
