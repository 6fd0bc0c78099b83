// Withheld deletions as an operator meets them: looked at in `status` and in a dry run, approved with what that printed.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openShop, reportOf, type Shop } from './command.ts'

let shop: Shop
let gone: string[]
let name: string

beforeAll(async () => {
  shop = await openShop()
  await shop.run(['sync'])
  gone = shop.sandbox.users
    .all()
    .slice(0, 12)
    .map(({ id }) => id)
    .sort()
  name = shop.wanted().get(gone[0] ?? '')?.name ?? ''
  for (const id of gone) shop.sandbox.users.delete(id)
  await shop.database.sql`create table posts (author text references users (clerk_id) on delete cascade)`
  await shop.database
    .sql`insert into posts select unnest(${[0, 0, 1].map((index) => gone[index] ?? '')}::text[])`
  expect((await shop.run(['sync'])).code).toBe(3)
})
afterAll(() => shop.close())

const linesAfter = (stdout: string, first: string) => stdout.slice(stdout.indexOf(first)).split('\n')

test('status names ten of them, says what a deletion takes along, and how to see all', async () => {
  const { stdout } = await shop.run(['status', '--format', 'text'])
  const lines = linesAfter(stdout, '12 rows stay')
  expect(lines[0]).toBe('12 rows stay whose users Clerk no longer has:')
  expect(lines.slice(1, 11).map((line) => line.split(/ +/)[2])).toEqual(gone.slice(0, 10))
  expect(lines[1]).toMatch(/last changed \d{4}-\d\d-\d\d, missed since \d{4}-\d\d-\d\d$/)
  expect(lines.slice(11, 14)).toEqual([
    '  … and 2 more (--all names them)',
    '  a deletion takes rows of other tables along: 3 of posts',
    expect.stringMatching(
      /^ {2}If their deletion is right: npm run sync -- --approve-deletes 12:[0-9a-f]{8}$/,
    ),
  ])
  expect(stdout).not.toContain(name)
})

test('status names all with their names where asked to, in JSON as well', async () => {
  const text = await shop.run(['status', '--format', 'text', '--all', '--show-values'])
  for (const id of gone) expect(text.stdout).toContain(`- ${id}  "`)
  expect(text.stdout).toContain(JSON.stringify(name))
  const { withheld } = JSON.parse((await shop.run(['status', '--json', '--all'])).stdout)
  expect(withheld.rows.map(({ clerkId }: { clerkId: string }) => clerkId)).toEqual(gone)
  expect(withheld.dependents).toEqual([{ table: 'posts', onDelete: 'deleted', rows: 3 }])
  expect(JSON.stringify(withheld)).not.toContain(name)
})

test('a dry run lists them as lines that begin with a minus, and the printed approval deletes them and no other', async () => {
  const dry = await shop.run(['sync', '--dry-run', '--format', 'text'])
  const listed = dry.stdout.split('\n').filter((line) => line.startsWith('- '))
  expect(listed.map((line) => line.split(' ')[1]).sort()).toEqual(gone)
  expect(listed[0]).toMatch(/ {2}withheld, last changed \d{4}-\d\d-\d\d, missed since /)
  const [, approval = ''] = /--approve-deletes (\S+)/.exec(dry.stdout) ?? []
  const [late] = shop.sandbox.users.all()
  shop.sandbox.users.delete(late?.id ?? '')
  const ended = await shop.run(['sync', '--json', '--approve-deletes', approval])
  expect(ended.code).toBe(3)
  expect(reportOf(ended).counts).toMatchObject({ deleted: 12, withheld: 1 })
  expect([...(await shop.rows()).keys()]).toContain(late?.id)
})
