// Which flags npm kept for itself, by what it leaves in the environment and what stands in npmrc files.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import { commandWithSeparator, flagText, swallowedFlags } from '../../src/config/npm-flags.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'npm-flags-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

describe('swallowedFlags', () => {
  // What npm 11.19 sets for any script, and what a user's .npmrc adds.
  const npm = {
    npm_lifecycle_event: 'sync',
    npm_lifecycle_script: 'x',
    npm_command: 'run',
    npm_config_allow_scripts: '',
    npm_config_cache: '/root/.npm',
    npm_config_global_prefix: '/usr',
    npm_config_globalconfig: '/nowhere/npmrc',
    npm_config_init_module: '/root/.npm-init.js',
    npm_config_local_prefix: '/nowhere',
    npm_config_loglevel: 'silent',
    npm_config_node_gyp: '/x',
    npm_config_noproxy: '',
    npm_config_npm_version: '11.19.1',
    npm_config_prefix: '/usr',
    npm_config_user: '0',
    npm_config_user_agent: 'npm/11.19.1 node/v20.20.2 linux x64 workspaces/false',
    npm_config_userconfig: '/nowhere/.npmrc',
    npm_config_yes: '',
  }

  const known = [
    ...['incremental', 'dry-run', 'json', 'skip-if-running'].map((name) => ({ name, takesValue: false })),
    ...['user', 'approve-deletes', 'limit'].map((name) => ({ name, takesValue: true })),
  ]
  const swallowed = (env: NodeJS.ProcessEnv) => swallowedFlags(known, env).map(flagText)

  test.each([
    ['nothing', {}, []],
    ['--dry-run', { npm_config_dry_run: 'true' }, ['--dry-run']],
    ['--dryrun', { npm_config_dryrun: 'true' }, ['--dry-run']],
    ['--user user_1', { npm_config_user: 'true' }, ['--user']],
    ['--user=user_1', { npm_config_user: 'user_1' }, ['--user=user_1']],
    ['--user= with nothing', { npm_config_user: '' }, ['--user']],
    ['--approve-deletes 5', { npm_config_approve_deletes: 'true' }, ['--approve-deletes']],
    ['--approve-deletes=5', { npm_config_approve_deletes: '5' }, ['--approve-deletes=5']],
    ['--no-json', { npm_config_json: '' }, []],
    [
      'several',
      { npm_config_incremental: 'true', npm_config_skip_if_running: 'true' },
      ['--incremental', '--skip-if-running'],
    ],
  ])('finds %s', (_case, left, flags) => {
    expect(swallowed({ ...npm, ...left })).toEqual(flags)
  })

  describe('with npmrc files', () => {
    const files = (folder: string) => ({
      npm_config_local_prefix: join(folder, 'project'),
      npm_config_userconfig: join(folder, 'user.npmrc'),
      npm_config_globalconfig: join(folder, 'global.npmrc'),
    })
    const write = (name: string, text: string) => writeFileSync(join(directory, name), text)

    it('leaves out what a file says', () => {
      write('user.npmrc', '; mine\njson\n\n[x]\nuser = "nobody"\nlimit=5\n')
      write('global.npmrc', 'user=root\nincremental=true\napprove_deletes=7\n')
      const left = {
        npm_config_json: 'true',
        npm_config_user: 'nobody',
        npm_config_limit: '5',
        npm_config_incremental: 'true',
        npm_config_approve_deletes: '7',
      }
      expect(swallowed({ ...npm, ...files(directory), ...left })).toEqual([])
    })

    it('finds what was typed over it', () => {
      write('user.npmrc', 'user=nobody\nlimit=5\ndry-run=false\n')
      const left = { npm_config_user: 'true', npm_config_limit: '6', npm_config_dry_run: 'true' }
      const found = ['--dry-run', '--user', '--limit=6']
      expect(swallowed({ ...npm, ...files(directory), ...left })).toEqual(found)
    })

    it("finds --dry-run and --json though a person's own file has them too, since the project's goes first", () => {
      mkdirSync(join(directory, 'project'))
      write('project/.npmrc', readFileSync(new URL('../../.npmrc', import.meta.url), 'utf8'))
      write('user.npmrc', 'dry-run=true\njson=true\n')
      const left = { npm_config_dry_run: 'true', npm_config_json: 'true' }
      expect(swallowed({ ...npm, ...files(directory), ...left })).toEqual(['--dry-run', '--json'])
    })
  })

  test.each([
    ['--limit=1 --json', { limit: '1', json: 'true' }, [], '--json --limit=1'],
    ['--user user_1 --dry-run', { user: 'true', dry_run: 'true' }, ['user_1'], '--dry-run --user user_1'],
    ['--json -- --dry-run', { json: 'true' }, ['--dry-run'], '--json --dry-run'],
    [
      '--user user_1 --limit 5',
      { user: 'true', limit: 'true' },
      ['user_1', '5'],
      '--user <value> --limit <value>',
    ],
  ])('the command that was meant by %s can be typed', (_case, left, args, meant) => {
    const env = Object.fromEntries(Object.entries(left).map(([name, value]) => [`npm_config_${name}`, value]))
    const command = commandWithSeparator('sync', swallowedFlags(known, { ...npm, ...env }), args)
    expect(command).toBe(`npm run sync -- ${meant}`)
  })

  it('finds nothing where npm did not start the process', () => {
    expect(swallowed({ npm_config_dry_run: 'true' })).toEqual([])
  })
})
