#!/usr/bin/env node
// What the bin and the image run: the command line, without an embedded Postgres.
import { runCli } from './cli/program.ts'

await runCli(process.argv)
