// What the npm scripts run: the command line, with an embedded Postgres for where DATABASE_URL is not set.
import { runCli } from '../cli/program.ts'
import { openEmbeddedPostgres } from './embedded-postgres/embedded-postgres.ts'

await runCli(process.argv, { openEmbeddedPostgres })
