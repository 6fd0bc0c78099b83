// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the code that is looked for has placeholders
// Faults put into the code on purpose: `node --import tsx test/simulation/mutants.ts [name…]` copies the tree, makes one
// change, and lets the simulation look for it. Prints how many seeds each one took. Exit 1 if one was not found.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const project = fileURLToPath(new URL('../..', import.meta.url))
const seedsMax = 500

interface Mutant {
  readonly name: string
  /** File, what is in it, and what stands there instead. */
  readonly edits: readonly (readonly [file: string, search: string, replace: string])[]
}

const mutants: readonly Mutant[] = [
  {
    name: 'guard removed',
    edits: [
      [
        'sync/deletions.ts',
        'if (proof.unasked.length > 0 || proof.denied.length > proof.allowed) {',
        'if (false) {',
      ],
    ],
  },
  {
    name: 'hour forgotten by the guard',
    edits: [['sync/guard.ts', 'hourly - facts.recent', 'hourly']],
  },
  {
    name: '< for <= in a pass',
    edits: [['db/users.ts', "by === 'pass' ? '<=' : '<'", "'<'"]],
  },
  {
    name: '<= for < in a webhook',
    edits: [['db/users.ts', "by === 'pass' ? '<=' : '<'", "'<='"]],
  },
  {
    name: 'stale values win',
    edits: [['db/users.ts', 'u.clerk_updated_at ${older} d.clerk_updated_at', 'true']],
  },
  {
    name: 'fence gone',
    edits: [['db/ledger.ts', "if (options.fence !== 'none') await", 'if (false) await']],
  },
  {
    name: 'list by id not believed',
    edits: [['sync/deletions.ts', 'settled.filter((row) => !returned.has(row.clerkId))', 'settled']],
  },
  {
    name: 'not asked alone',
    edits: [
      ['sync/deletions.ts', 'rows.length > fewDenied && pass.tally.shortfall === 0', 'rows.length > 0'],
    ],
  },
  {
    name: 'canary ignored',
    edits: [
      [
        'sync/deletions.ts',
        'if (canary === undefined || users.some((user) => user.clerkId === canary)) {',
        'if (true) {',
      ],
    ],
  },
  {
    name: 'incomplete pass deletes',
    edits: [['sync/deletions.ts', 'if (!pass.tally.complete) {', 'if (false) {']],
  },
  {
    name: 'unreadable user leaves the pass complete',
    edits: [['sync/full-pass.ts', 'pass.tally.complete = false\n    pass.log', 'pass.log']],
  },
  {
    name: 'tombstone ignored by inserts',
    edits: [
      [
        'db/users.ts',
        'where not exists (select from clerk_sync.tombstones t',
        'where true or not exists (select from clerk_sync.tombstones t',
      ],
    ],
  },
  {
    name: 'tombstone left out',
    edits: [
      [
        'db/users.ts',
        'select clerk_id, clock_timestamp(), ${runId}::bigint from deleted',
        'select clerk_id, clock_timestamp(), ${runId}::bigint from deleted where false',
      ],
    ],
  },
  {
    name: 'candidate younger than the grace deleted',
    edits: [
      [
        'sync/plan.ts',
        'row.clerkUpdatedAt <= clock.startedAt - clock.graceMs',
        'row.clerkUpdatedAt <= clock.startedAt',
      ],
    ],
  },
  {
    name: 'grace held against the wrong clock',
    edits: [
      [
        'sync/plan.ts',
        'row.clerkUpdatedAt <= clock.startedAt - clock.graceMs',
        'row.clerkUpdatedAt <= Date.now() - clock.graceMs',
      ],
    ],
  },
  {
    name: 'watermark too new',
    edits: [['sync/full-pass.ts', ' - Math.max(watermarkLagMs, clock.graceMs)', '']],
  },
  {
    name: 'lease ignored',
    edits: [
      ['db/ledger.ts', 'if (options.runId !== null) await requireLease', 'if (false) await requireLease'],
    ],
  },
  {
    name: 'page dropped',
    edits: [
      [
        'sync/full-pass.ts',
        'await takeUsers(pass, sightings, page.users)\n',
        'if (page.span.after === undefined || page.users.length > 1) await takeUsers(pass, sightings, page.users)\n',
      ],
    ],
  },
  {
    name: 'error read as empty',
    edits: [
      [
        'clerk/api.ts',
        'Array.isArray(json) ? json.map(readUser) : undefined',
        'Array.isArray(json) ? json.map(readUser) : []',
      ],
    ],
  },
  {
    name: 'any page goes on',
    edits: [['sync/walk.ts', 'if (!holdsThread(page, ask)) return undefined', '']],
  },
  {
    name: 'counts not compared',
    edits: [
      [
        'sync/incremental-pass.ts',
        "pass.options.policy === 'sync' ? gap !== 0 : gap > 0",
        'gap < 0 && gap > 0',
      ],
    ],
  },
  {
    name: 'count lag believed',
    edits: [['sync/full-pass.ts', 'if (shortfall() > 0) countAfter', 'if (false) countAfter']],
  },
  {
    name: 'policy forgotten by a webhook',
    edits: [['sync/delivery.ts', "if (policy === 'upsert-only') return", 'if (false) return']],
  },
  {
    name: 'dry run writes',
    edits: [['sync/apply.ts', 'if (pass.dryRun) showPlan(pass, plan)', 'if (false) showPlan(pass, plan)']],
  },
  {
    name: 'moved rows become candidates',
    edits: [['sync/full-pass.ts', 'sightings.candidates.delete(user.clerkId)', '']],
  },
  {
    name: 'report counts what was planned',
    edits: [
      ['sync/apply.ts', 'counts.updated += done.updated.length', 'counts.updated += plan.updates.length'],
    ],
  },
]

async function main(): Promise<void> {
  const asked = process.argv.slice(2)
  const chosen = mutants.filter(({ name }) => asked.length === 0 || asked.some((word) => name.includes(word)))
  let missed = 0
  for (const mutant of chosen) {
    const found = await look(mutant)
    if (found === undefined) missed++
    const seeds = found === undefined ? `not in ${seedsMax}` : `seed ${found.seed}`
    process.stdout.write(`| ${mutant.name} | ${seeds} | ${found?.message ?? ''} |\n`)
  }
  if (missed > 0) process.exitCode = 1
}

/** The first seed that finds it, in a copy of the tree. */
async function look(mutant: Mutant): Promise<{ seed: number; message: string } | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'clerk-sync-mutant-'))
  try {
    for (const part of ['src', 'test', 'drizzle', 'package.json', 'tsconfig.json']) {
      await cp(join(project, part), join(folder, part), { recursive: true })
    }
    await symlink(join(project, 'node_modules'), join(folder, 'node_modules'))
    for (const [file, search, replace] of mutant.edits) {
      const path = join(folder, 'src', file)
      const text = await readFile(path, 'utf8')
      if (text.split(search).length !== 2) throw new Error(`${mutant.name}: ${file} has not once: ${search}`)
      // A function, since a text would have its dollars read as groups.
      await writeFile(
        path,
        text.replace(search, () => replace),
      )
    }
    return await simulate(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function simulate(folder: string): Promise<{ seed: number; message: string } | undefined> {
  const command = [
    '--import',
    'tsx',
    'test/simulation/main.ts',
    '--seeds',
    String(seedsMax),
    '--stop-at-first',
    '--lanes',
    '2',
  ]
  const child = spawn(process.execPath, command, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  child.stderr.on('data', (chunk) => {
    errors += chunk
  })
  const [code] = await once(child, 'close')
  const [, seed, message] = /^seed (\d+): (.*)$/m.exec(output) ?? []
  if (seed !== undefined) return { seed: Number(seed), message: message ?? '' }
  if (code !== 0) throw new Error(errors || output)
  return undefined
}

await main()
