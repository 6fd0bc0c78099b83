// `npm run mutate:simulation [-- word…]`: puts each fault of mutants.ts into a copy of the tree and lets the simulation
// look for it. Prints which seed found it. Exit 1 if one was not found.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { withFaultyCopy } from '../support/faulty-copy.ts'
import { mutants } from './mutants.ts'

const seedsMax = 500

interface Find {
  readonly seed: string
  readonly message: string
}

async function main(): Promise<void> {
  const words = process.argv.slice(2)
  const chosen = mutants.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)))
  let missed = 0
  process.stdout.write('| fault | found by | as |\n| --- | --- | --- |\n')
  for (const mutant of chosen) {
    const find = await withFaultyCopy(mutant, simulate)
    if (find === undefined) missed++
    const seed = find === undefined ? `not in ${seedsMax} seeds` : `seed ${find.seed}`
    process.stdout.write(`| ${mutant.name} | ${seed} | ${find?.message ?? ''} |\n`)
  }
  process.stdout.write(`\nfound ${chosen.length - missed} of ${chosen.length}\n`)
  if (missed > 0) process.exitCode = 1
}

/** The first seed that comes upon a violation there. */
async function simulate(folder: string): Promise<Find | undefined> {
  const flags = ['--seeds', String(seedsMax), '--stop-at-first']
  const child = spawn(process.execPath, ['--import', 'tsx', 'test/simulation/main.ts', ...flags], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [output, errors, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ])
  const [, seed, message] = /^seed (\d+): (.*)$/m.exec(output) ?? []
  if (seed !== undefined) return { seed, message: message ?? '' }
  if (code !== 0) throw new Error(errors || output)
  return undefined
}

await main()
