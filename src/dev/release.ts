// `npm run release -- 0.2.0`: closes the changelog's section, sets the version, commits and tags. The rule: what is not
// described is not released. Nothing is pushed.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** What ships; a change elsewhere needs no release. */
const shipped = ['src', ':!src/dev', 'drizzle', 'Dockerfile', 'package.json', 'package-lock.json']

/** Why this version cannot be released from the folder, as sentences; empty if it can. */
export function problemsOf(directory: string, version: string): string[] {
  if (!/^\d+\.\d+\.\d+(-[a-z0-9.]+)?$/.test(version)) return [`${version} is not a version such as 0.2.0.`]
  const git = (...args: string[]) => execFileSync('git', args, { cwd: directory, encoding: 'utf8' }).trim()
  const problems: string[] = []
  if (git('status', '--porcelain') !== '')
    problems.push('The working tree has changes. Commit or remove them.')
  const tags = git('tag', '--list', 'v*', '--sort=-creatordate').split('\n').filter(Boolean)
  if (tags.includes(`v${version}`)) problems.push(`The tag v${version} exists already.`)
  const section = sectionOf(readFileSync(join(directory, 'CHANGELOG.md'), 'utf8'), version)
  if (section === undefined) {
    return [...problems, `CHANGELOG.md has no section that begins with ## [${version}] - Unreleased.`]
  }
  if (!/^- /m.test(section)) problems.push(`CHANGELOG.md has no entry for ${version}.`)
  const [last] = tags
  if (last === undefined) return problems
  if (git('diff', '--name-only', last, '--', ...shipped) === '') {
    problems.push(`Nothing that ships has changed since ${last}.`)
  }
  const undescribed = added(git, last).filter((name) => !section.includes(name))
  return [
    ...problems,
    ...undescribed.map(
      (name) => `${name} is new since ${last}, and the section for ${version} does not name it.`,
    ),
  ]
}

/** What an operator meets and that has come since that tag: variables, npm scripts, flags, migrations. */
function added(git: (...args: string[]) => string, tag: string): string[] {
  const now = (file: string) => git('show', `HEAD:${file}`)
  const then = (file: string) => {
    try {
      return git('show', `${tag}:${file}`)
    } catch {
      return ''
    }
  }
  const all = (file: string, pattern: RegExp) => {
    const known = new Set([...then(file).matchAll(pattern)].map(([, name]) => name))
    return [...now(file).matchAll(pattern)].flatMap(([, name = '']) => (known.has(name) ? [] : [name]))
  }
  const scripts = (text: string) =>
    text === '' ? [] : Object.keys((JSON.parse(text) as { scripts?: object }).scripts ?? {})
  const knownScripts = new Set(scripts(then('package.json')))
  const migrations = git('diff', '--name-only', '--diff-filter=A', tag, '--', 'drizzle')
  return [
    ...all('.env.example', /^#? ?([A-Z][A-Z0-9_]+)=/gm),
    ...all('src/cli/program.ts', /'(--[a-z-]+)/g),
    ...scripts(now('package.json')).filter((name) => !knownScripts.has(name)),
    ...[...migrations.matchAll(/^drizzle\/(\d+_\w+)\.sql$/gm)].map(([, name = '']) => name),
  ]
}

/** The text of a version's section that is not released yet. */
function sectionOf(changelog: string, version: string): string | undefined {
  const [, section] = changelog.split(`## [${version}] - Unreleased\n`)
  return section?.split(/^## /m)[0]?.trim()
}

/** Releases the version. Returns the release notes. Throws an `Error` that names each problem. */
export function release(directory: string, version: string, today: string): string {
  const problems = problemsOf(directory, version)
  if (problems.length > 0) throw new Error(problems.join('\n'))
  const file = join(directory, 'CHANGELOG.md')
  const changelog = readFileSync(file, 'utf8')
  const notes = sectionOf(changelog, version) ?? ''
  writeFileSync(file, changelog.replace(`## [${version}] - Unreleased`, `## [${version}] - ${today}`))
  const run = (command: string, ...args: string[]) => execFileSync(command, args, { cwd: directory })
  run('npm', 'version', version, '--no-git-tag-version', '--allow-same-version')
  run('git', 'add', 'CHANGELOG.md', 'package.json', 'package-lock.json')
  run('git', 'commit', '--quiet', '--message', `release: ${version}`)
  run('git', 'tag', '--annotate', `v${version}`, '--message', notes)
  return notes
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [, , version = ''] = process.argv
  try {
    const notes = release(process.cwd(), version, new Date().toISOString().slice(0, 10))
    process.stdout.write(`${notes}\n`)
    process.stderr.write(`\nTagged v${version}. To publish it: git push --follow-tags\n`)
  } catch (error) {
    process.stderr.write(`error: ${error instanceof Error ? error.message : 'the release failed'}\n`)
    process.exitCode = 1
  }
}
