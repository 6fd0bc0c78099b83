// The release script, on a small repository of its own with real git and npm.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { problemsOf, release } from '../../src/dev/release.ts'

const changelog = (version: string, date: string, ...entries: string[]) =>
  `## [${version}] - ${date}\n\n### Added\n\n${entries.map((entry) => `- ${entry}\n`).join('')}\n`

/** A repository that has released 0.1.0. */
function repository() {
  const directory = mkdtempSync(join(tmpdir(), 'clerk-sync-release-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  const git = (...args: string[]) => execFileSync('git', args, { cwd: directory, encoding: 'utf8' }).trim()
  const write = (file: string, text: string) => {
    mkdirSync(dirname(join(directory, file)), { recursive: true })
    writeFileSync(join(directory, file), text)
  }
  const commit = () => {
    git('add', '--all')
    git('commit', '--quiet', '--message', 'a change')
  }
  git('init', '--quiet', '--initial-branch', 'main')
  git('config', 'user.name', 'Test')
  git('config', 'user.email', 'test@example.com')
  const scripts = { sync: 'node .' }
  const manifest = { name: 'x', version: '0.1.0', scripts }
  write('package.json', JSON.stringify(manifest))
  write(
    'package-lock.json',
    JSON.stringify({ name: 'x', version: '0.1.0', lockfileVersion: 3, packages: {} }),
  )
  write('.env.example', 'PORT=3000\n')
  write('src/cli/program.ts', "option('--json')\n")
  write('CHANGELOG.md', changelog('0.1.0', '2026-01-01', 'all of it'))
  commit()
  git('tag', 'v0.1.0')
  const read = (file: string) => readFileSync(join(directory, file), 'utf8')
  return { directory, git, write, commit, read, manifest }
}

test('sets the version and the date, commits, tags, and returns the notes', () => {
  const { directory, git, write, commit, read } = repository()
  write('src/cli/program.ts', "option('--json')\noption('--all')\n")
  write('CHANGELOG.md', changelog('0.2.0', 'Unreleased', '`--all` shows every change') + read('CHANGELOG.md'))
  commit()
  expect(release(directory, '0.2.0', '2026-02-03')).toBe('### Added\n\n- `--all` shows every change')
  expect(read('CHANGELOG.md')).toContain('## [0.2.0] - 2026-02-03')
  expect(JSON.parse(read('package.json')).version).toBe('0.2.0')
  expect(git('log', '-1', '--format=%s')).toBe('release: 0.2.0')
  expect(git('tag', '--points-at', 'HEAD')).toBe('v0.2.0')
  expect(git('status', '--porcelain')).toBe('')
})

test('refuses what the changelog does not name, each by its name', () => {
  const { directory, write, commit, read, manifest } = repository()
  write('.env.example', 'PORT=3000\n# GRACE_SECONDS=600\n')
  write('src/cli/program.ts', "option('--json')\noption('--all')\n")
  write('package.json', JSON.stringify({ ...manifest, scripts: { sync: 'node .', fit: 'node fit' } }))
  write('drizzle/0001_more.sql', 'select 1')
  write('CHANGELOG.md', changelog('0.2.0', 'Unreleased', 'better') + read('CHANGELOG.md'))
  commit()
  expect(problemsOf(directory, '0.2.0')).toEqual(
    ['GRACE_SECONDS', '--all', 'fit', '0001_more'].map(
      (name) => `${name} is new since v0.1.0, and the section for 0.2.0 does not name it.`,
    ),
  )
  expect(() => release(directory, '0.2.0', '2026-02-03')).toThrow('GRACE_SECONDS')
  expect(JSON.parse(read('package.json')).version).toBe('0.1.0')
})

test.each([
  ['no section', '0.3.0', ['CHANGELOG.md has no section that begins with ## [0.3.0] - Unreleased.']],
  ['an empty section', '0.2.0', ['CHANGELOG.md has no entry for 0.2.0.']],
  ['no version', 'next', ['next is not a version such as 0.2.0.']],
])('refuses a release with %s', (_what, version, problems) => {
  const { directory, write, commit, read } = repository()
  write('CHANGELOG.md', changelog('0.2.0', 'Unreleased') + read('CHANGELOG.md'))
  write('src/sync.ts', 'export {}\n')
  commit()
  expect(problemsOf(directory, version)).toEqual(problems)
})

test('refuses a working tree with changes, and a release without a change that ships', () => {
  const { directory, write, commit, read } = repository()
  write('CHANGELOG.md', changelog('0.2.0', 'Unreleased', 'better') + read('CHANGELOG.md'))
  commit()
  write('left-over', '')
  expect(problemsOf(directory, '0.2.0')).toEqual([
    'The working tree has changes. Commit or remove them.',
    'Nothing that ships has changed since v0.1.0.',
  ])
})
