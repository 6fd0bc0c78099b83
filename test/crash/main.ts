// `npm run crash -- --kills 100 [--outages N] [--seed N]`: so many processes killed and so many outages of Postgres, on a
// Postgres of its own. Exit 1 if something happened that must not; the last line repeats it.
import { parseArgs } from 'node:util'
import { refuseSwallowed } from '../support/npm.ts'
import { runKills } from './kills.ts'
import { runOutages } from './outages.ts'
import { describeKills, describeOutages } from './report.ts'
import { type OwnServer, openServer } from './server.ts'

const usage = `usage: npm run crash -- [options]

  --kills <n>     how many processes are killed (100)
  --outages <n>   how often Postgres fails (a fifth of the kills)
  --seed <n>      what decides the moments (a random one)

Exit 1 if anything happened that must not.
`

interface Flags {
  readonly kills: number
  readonly outages: number
  readonly seed: number
}

/** What was asked for; a text is what is wrong with it. */
function readFlags(): Flags | 'help' | string {
  const text = { type: 'string' } as const
  const options = { kills: text, outages: text, seed: text, help: { type: 'boolean' } } as const
  try {
    refuseSwallowed(options)
    const { values } = parseArgs({ options })
    if (values.help) return 'help'
    const kills = Number(values.kills ?? 100)
    const flags = {
      kills,
      outages: Number(values.outages ?? Math.ceil(kills / 5)),
      // No larger than a person likes to type.
      seed: Number(values.seed ?? Math.floor(Math.random() * 1_000_000)),
    }
    const isRight = Object.values(flags).every((each) => Number.isSafeInteger(each) && each >= 0)
    return isRight ? flags : 'the numbers must be whole and not below zero'
  } catch (error) {
    return (error as Error).message
  }
}

async function main(): Promise<void> {
  const flags = readFlags()
  if (typeof flags === 'string') {
    if (flags === 'help') process.stdout.write(usage)
    else process.stderr.write(`${flags}\n\n${usage}`)
    process.exitCode = flags === 'help' ? 0 : 64
    return
  }
  // What is started must be ended in good order; the server's own end takes care of the rest.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
  const server = await openServer()
  try {
    process.exitCode = (await run(server, flags)) === 0 ? 0 : 1
  } finally {
    await server.stop()
  }
}

/** Gives how many violations there were. */
async function run(server: OwnServer, { kills, outages, seed }: Flags): Promise<number> {
  const since = performance.now()
  const seconds = () => ((performance.now() - since) / 1000).toFixed(0)
  const tell = (what: string) => (count: number) => {
    if (count % 10 === 0) process.stderr.write(`${count} ${what}, ${seconds()} s\n`)
  }
  process.stdout.write(`seed ${seed}\n`)
  let violations = 0
  if (kills > 0) {
    const result = await runKills(server, { seed, kills, onKill: tell('kills') })
    violations += result.violations.length
    process.stdout.write(describeKills(result, seed))
  }
  if (outages > 0) {
    const result = await runOutages(server, { seed, outages, onOutage: tell('outages') })
    violations += result.violations.length
    process.stdout.write(describeOutages(result, seed))
  }
  process.stdout.write(`${violations} violations in ${seconds()} s\n`)
  return violations
}

await main()
