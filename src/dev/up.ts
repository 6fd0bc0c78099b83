// `npm run db:up`: keeps the embedded Postgres up until Ctrl+C, for psql, a table browser or anything else that is to look
// at it between two commands.
import { openCommandDatabase } from '../cli/database.ts'
import { outliveReaders, sayError } from '../cli/output.ts'
import { stopOnSignals } from '../cli/signals.ts'
import { loadDatabase } from '../config/config.ts'
import { isSyncError, SyncError } from '../errors.ts'
import { exitCodeOfError } from '../sync/report.ts'
import { openEmbeddedPostgres } from './embedded-postgres/embedded-postgres.ts'

const stop = new AbortController()
stopOnSignals(stop, () => {})
outliveReaders()

try {
  await keepUp()
} catch (error) {
  if (!stop.signal.aborted || (isSyncError(error) && error.kind !== 'aborted')) {
    sayError(error)
    process.exitCode = exitCodeOfError(error)
  }
}

async function keepUp(): Promise<void> {
  const { database: configured, warnings } = loadDatabase()
  for (const warning of warnings) process.stderr.write(`${warning}\n`)
  if ('url' in configured) {
    throw new SyncError('configuration', 'DATABASE_URL is set, so the embedded Postgres is not used', {
      hint: 'Look at the database of DATABASE_URL, or start this as `DATABASE_URL= npm run db:up`.',
    })
  }
  const database = await openCommandDatabase(configured, openEmbeddedPostgres, (message) =>
    process.stderr.write(`${message}\n`),
  )
  try {
    process.stdout.write(instructions(database.embeddedUrl ?? ''))
    await untilAborted(stop.signal)
  } finally {
    await database.close()
  }
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  // A signal alone does not keep the process alive.
  const alive = setInterval(() => {}, 2 ** 30)
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve))
  clearInterval(alive)
}

function instructions(url: string): string {
  return `
The embedded Postgres is up, with all tables of this folder. Its address stays the same:

  ${url}

  psql '${url}'

Other commands use it meanwhile; \`npm run db:studio\`, in another terminal, shows it in a browser. Ctrl+C stops it, unless
another program is still connected.
`
}
