// Every document of the repository: its links lead somewhere, its commands and paths exist.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = resolve(import.meta.dirname, '..')
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object }

const documentsIn = (folder: string) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name))

const files = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...['.github', 'docs', 'src', 'test'].flatMap(documentsIn),
]

/** The anchors of a document, as the usual forge makes them from its headings. */
function anchorsOf(file: string): string[] {
  const headings = [...readFileSync(file, 'utf8').matchAll(/^#+ (.+)$/gm)].map(([, text = '']) => text)
  return headings.map((text) =>
    text
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

describe.each(files)('%s', (name) => {
  const file = join(root, name)
  const text = readFileSync(file, 'utf8')
  const prose = text.replace(/^```.*?^```$/gms, '')

  test('has links that lead somewhere', () => {
    const links = [...prose.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)]
    const broken = links.filter(([, path = '', anchor]) => {
      const target = path === '' ? file : resolve(dirname(file), path)
      return !existsSync(target) || (anchor !== undefined && !anchorsOf(target).includes(anchor))
    })
    expect(broken.map(([link]) => link)).toEqual([])
  })

  test('names scripts and files that exist', () => {
    const commands = [...text.matchAll(/npm run (?:--silent )?([\w:-]+)/g)].map(([, script = '']) => script)
    expect(commands.filter((script) => !(script in scripts))).toEqual([])
    const paths = [...prose.matchAll(/`((?:src|test|docs|drizzle|deploy|\.ci|\.github)\/[\w./-]*)`/g)]
    const missing = paths.map(([, path = '']) => path).filter((path) => !existsSync(join(root, path)))
    expect(missing).toEqual([])
  })
})

test('every decision has a number of its own and a title', () => {
  const names = readdirSync(join(root, 'docs/decisions')).sort()
  names.forEach((name, index) => {
    const number = String(index + 1).padStart(4, '0')
    expect(name).toMatch(new RegExp(`^${number}-[a-z-]+\\.md$`))
    const text = readFileSync(join(root, 'docs/decisions', name), 'utf8')
    expect(text, relative(root, name)).toMatch(new RegExp(`^# ${index + 1}\\. `))
    for (const part of ['Context', 'Decision', 'Alternatives', 'Consequences']) {
      expect(text, name).toContain(`**${part}.**`)
    }
  })
})
