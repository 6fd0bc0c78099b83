// What a `.env` file may hold, what it says then, and that no line of it is ever lost without a word.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readEnvFile } from '../../src/config/env-file.ts'

const known = new Set(['CLERK_SECRET_KEY', 'DATABASE_URL', 'SYNC_POLICY', 'MAX_DELETES', 'PORT'])
const read = (...lines: string[]) => readEnvFile('.env', lines.join('\n'), known)

describe('an assignment', () => {
  it.each([
    ['A=1', '1'],
    ['A = 1 ', '1'],
    ['A =1', '1'],
    ['  export A=1', '1'],
    ['A=', ''],
    ['A=""', ''],
    ['A=1 # a comment', '1'],
    ['A="1 # no comment" # a comment', '1 # no comment'],
    ['A=\'it is "so"\'', 'it is "so"'],
    ['A="it"s"', 'it"s'],
    ["A=it's", "it's"],
    ['A=`back`', 'back'],
    ['A="C:\\dir\\"', 'C:\\dir\\'],
    ['A=postgres://u:p=1@h/d?x=y', 'postgres://u:p=1@h/d?x=y'],
    ['A="two\\nlines"', 'two\nlines'],
    ['A="two\nlines"', 'two\nlines'],
    ['A="-----BEGIN KEY-----\nMIIB=\nPORT\nabcd==\n-----END KEY-----" # a key', undefined],
  ])('%j is read', (text, value) => {
    const { values, problems } = read('', '# first', text, 'PORT=1')
    expect(problems).toEqual([])
    expect(values).toMatchObject({
      A: value ?? expect.stringMatching(/^-----BEGIN[\s\S]*abcd==[\s\S]*KEY-----$/),
      PORT: '1',
    })
  })

  it('is read alike with any line break and with a byte order mark', () => {
    for (const lineBreak of ['\n', '\r\n', '\r']) {
      const text = `\ufeffSYNC_POLICY=upsert-only${lineBreak}# x${lineBreak}PORT=1${lineBreak}`
      expect(readEnvFile('.env', text, known)).toEqual({
        values: { SYNC_POLICY: 'upsert-only', PORT: '1' },
        problems: [],
        warnings: [],
      })
    }
  })
})

describe('a line that is no assignment', () => {
  it.each([
    'LOG_LEVEL: info',
    'SYNC_POLICY',
    'export PORT',
    '- a list',
    '= 1',
    'A[0]=1',
    '// x',
    '"A"=1',
    '\u200bA=1',
  ])('%j is refused by its number, without its content, and takes no other along', (line) => {
    const { values, problems } = read('PORT=1', line, 'SYNC_POLICY=upsert-only')
    expect(problems).toEqual(['.env: line 2 is no assignment. Write NAME=value, or begin the line with #.'])
    expect(values).toEqual({ PORT: '1', SYNC_POLICY: 'upsert-only' })
  })

  it('is named together with the others', () => {
    expect(read('a', 'PORT=1', 'b', '', 'c').problems).toEqual([
      '.env: lines 1, 3, 5 are no assignments. Write NAME=value, or begin the line with #.',
    ])
    expect(read(...'abcdefg').problems).toEqual([expect.stringContaining('lines 1, 2, 3, 4, 5 and more are')])
  })

  it.each(['   ', '\t', '   # indented', '#', ''])(
    'but is %j, which is nothing, takes no variable along',
    (line) => {
      expect(read(line, 'SYNC_POLICY=upsert-only', line, 'PORT=1', line)).toEqual({
        values: { SYNC_POLICY: 'upsert-only', PORT: '1' },
        problems: [],
        warnings: [],
      })
    },
  )
})

describe('a quotation mark', () => {
  it('that is not closed is refused, whatever stands below', () => {
    for (const below of [
      ['PORT=1'],
      ['PORT=1', 'B="x"'],
      ['x', 'PORT=1', 'B=x"'],
      ['it is "so"', 'PORT=1'],
      [],
    ]) {
      const { problems, values } = read('A="abc', ...below)
      expect(problems[0]).toBe('.env: line 1 opens a " that it does not close. Close it, or remove it.')
      expect(values).not.toHaveProperty('A')
    }
  })

  it('with something behind its end is refused', () => {
    expect(read("A='x' y", 'PORT=1')).toMatchObject({
      problems: [expect.stringMatching(/^\.env: line 1 has something behind its second '\./)],
      values: { PORT: '1' },
    })
  })
})

describe('a variable of ours', () => {
  it('that is set twice is refused, unless both say the same', () => {
    expect(read('SYNC_POLICY=upsert-only', 'PORT=1', 'SYNC_POLICY=sync').problems).toEqual([
      '.env: lines 1 and 3 set SYNC_POLICY differently. Remove one of the two.',
    ])
    expect(read('SYNC_POLICY=sync', 'SYNC_POLICY="sync"', 'OTHER=1', 'OTHER=2').problems).toEqual([])
  })

  it.each(['$\x7bOTHER}', 'x$\x7bOTHER:-1}y', 'pa\\$word', '$PORT'])(
    'with %j is taken literally, and says so',
    (value) => {
      const { values, warnings } = read('PORT=1', `DATABASE_URL='${value}'`, `OTHER=${value}`)
      expect(values).toMatchObject({ DATABASE_URL: value })
      expect(warnings).toEqual([
        expect.stringMatching(/^DATABASE_URL: in line 2 of \.env the \$ is taken literally; Next/),
      ])
    },
  )

  it('with a $ that Next.js would leave alone says nothing', () => {
    expect(read('DATABASE_URL=postgres://u:pa$word@h/d', 'PORT=$').warnings).toEqual([])
  })

  it('whose value a # cuts off says so', () => {
    const { values, warnings } = read('DATABASE_URL=postgres://u:p#w@h/d', 'PORT=#1', 'OTHER=a#b')
    expect(values).toMatchObject({ DATABASE_URL: 'postgres://u:p', PORT: '' })
    expect(warnings).toEqual([
      expect.stringMatching(/^DATABASE_URL: in line 1 of \.env the # begins a comment/),
      expect.stringMatching(/^PORT: in line 2/),
    ])
    expect(read('PORT=1 # a comment', "DATABASE_URL='a#b'").warnings).toEqual([])
  })
})

it('loses no variable of ours without a word, and shows no value, whatever stands around it', () => {
  const piece = fc.constantFrom(
    ...['"', "'", '`', '#', '=', ' ', 'A', 'B=', 'export ', '$', '\\', ':', '\t', '\n', '\r'],
  )
  const noise = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(''))
  fc.assert(
    fc.property(fc.array(noise, { maxLength: 5 }), fc.array(noise, { maxLength: 5 }), (before, after) => {
      const setting = 'SYNC_POLICY=upsert-only'
      const { values, problems, warnings } = read(...before, setting, ...after)
      if (problems.length === 0) expect(values).toMatchObject({ SYNC_POLICY: 'upsert-only' })
      expect([...problems, ...warnings].join()).not.toContain('upsert-only')
    }),
    { numRuns: 5000 },
  )
})
