// Two logins with the rights that docs/configuration.md names and no other: one that syncs, one that migrates. The rule:
// the grants are read from there, so that what is tested is what is written.
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import postgres from 'postgres'

const document = readFileSync(resolve(import.meta.dirname, '../../docs/configuration.md'), 'utf8')
/** The name that the document's grants give it. */
const syncingRole = 'clerk_sync_role'
const migratingRole = 'clerk_sync_migrating_role'
const grants = /^```sql\n(grant .*?)^```$/ms.exec(document)?.[1] ?? ''

/** Makes both logins and gives their URLs. The one that syncs gets its rights in the template, and so in every copy. */
export async function createRoles(templateUrl: string): Promise<{ migrated: string; empty: string }> {
  const admin = postgres(templateUrl, { max: 1, onnotice: () => {} })
  try {
    const urls = []
    for (const username of [syncingRole, migratingRole]) {
      const password = randomBytes(24).toString('base64url')
      await admin.unsafe(`create role ${username} login password '${password}'`)
      urls.push(Object.assign(new URL(templateUrl), { username, password }).href)
    }
    await admin.unsafe(grants)
    const [migrated = '', empty = ''] = urls
    return { migrated, empty }
  } finally {
    await admin.end()
  }
}

/**
 * Lets the other login migrate an empty database: it may create a schema and tables. What the document asks for besides,
 * that it owns the app's table, comes true as soon as a test makes that table.
 */
export async function allowMigrating(sql: postgres.Sql): Promise<void> {
  await sql.unsafe(`
    do $$ begin execute format('grant create on database %I to ${migratingRole}', current_database()); end $$;
    grant create on schema public to ${migratingRole};
    create function hand_over() returns event_trigger language plpgsql as $$ begin
      if to_regclass('public.users') is not null then alter table public.users owner to ${migratingRole}; end if;
    end $$;
    create event trigger hand_over on ddl_command_end when tag in ('CREATE TABLE') execute function hand_over()`)
}

/** Whether this is the URL of the login that migrates. */
export function isMigrating(url: string): boolean {
  return new URL(url).username === migratingRole
}
