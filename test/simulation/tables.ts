// The app's own hand in the tables: the constraints and triggers it has put on `users`, and tables that are restored from
// an earlier moment or made anew. The rule: whatever one seed does to a table is undone before the next.
import type postgres from 'postgres'

/** What the app asks of its table beyond what we know of it. */
export interface AppTable {
  readonly address: 'free' | 'unique' | 'required' | 'unique and required'
  /** A trigger writes each address in lower case. */
  readonly lowersAddresses: boolean
  /** The app does not insist on its own `created_at`. */
  readonly mayLackCreation: boolean
}

export function isSameTable(app: AppTable, other: AppTable | undefined): boolean {
  return (
    app.address === other?.address &&
    app.lowersAddresses === other.lowersAddresses &&
    app.mayLackCreation === other.mayLackCreation
  )
}

export const isUnique = ({ address }: AppTable) => address.startsWith('unique')
export const isRequired = ({ address }: AppTable) => address.endsWith('required')

/** Makes an empty `users` what that app has made of it. */
export function shapeQuery(app: AppTable): string {
  return `
    alter table users alter column email ${isRequired(app) ? 'set' : 'drop'} not null,
      alter column created_at ${app.mayLackCreation ? 'drop' : 'set'} not null;
    drop index if exists users_email_unique;
    ${isUnique(app) ? 'create unique index users_email_unique on users (email);' : ''}
    drop trigger if exists lower_address on users;
    ${app.lowersAddresses ? triggerQuery : ''}`
}

const triggerQuery = `
  create or replace function sim.lower_address() returns trigger language plpgsql as $$ begin
    new.email = lower(new.email); return new; end $$;
  create trigger lower_address before insert or update on users for each row execute function sim.lower_address();`

const ownTables = ['tombstones', 'runs', 'state', 'first_seen'] as const

/** The rows of all tables at one moment. */
export interface Backup {
  readonly users: string
  readonly own: Readonly<Record<(typeof ownTables)[number], string>>
  readonly lastRunId: number
}

/** Reads everything, as a dump would. */
export async function backUp(sql: postgres.Sql): Promise<Backup> {
  const [found] = await sql.unsafe<{ backup: string }[]>(`
    select json_build_object('users', ${rowsOf('users')},
      'own', json_build_object(${ownTables.map((table) => `'${table}', ${rowsOf(`clerk_sync.${table}`)}`).join(', ')}),
      'lastRunId', (select last_value from clerk_sync.runs_id_seq))::text as backup`)
  return JSON.parse(found?.backup ?? '{}')
}

const rowsOf = (table: string) => `(select coalesce(json_agg(t), '[]')::text from ${table} t)`

/** Puts the rows of `users` back as they were, in the same table or in one made anew. */
export async function restoreUsers(
  sql: postgres.Sql,
  { users }: Backup,
  app: AppTable,
  isAnew: boolean,
): Promise<void> {
  await sql.begin(async (tx) => {
    if (isAnew) await tx.unsafe(anewQuery(app)).simple()
    else await tx`delete from users`
    await tx`insert into users select * from json_populate_recordset(null::users, ${users}::text::json)`
  })
}

/** Drops `users` and makes it once more, empty. */
export async function makeUsersAnew(sql: postgres.Sql, app: AppTable): Promise<void> {
  await sql.unsafe(anewQuery(app)).simple()
}

const anewQuery = (app: AppTable) => `
  create table users_anew (like users including all excluding indexes); drop table users;
  alter table users_anew rename to users;
  alter table users add constraint users_pkey primary key (id),
    add constraint users_clerk_id_unique unique (clerk_id);
  create index users_clerk_created_at_idx on users (clerk_created_at);
  ${shapeQuery(app)}`

/** Puts our bookkeeping back as it was. A restore of the rows alone leaves the runs' sequence behind their ids. */
export async function restoreOwn(sql: postgres.Sql, backup: Backup, isRowsAlone: boolean): Promise<void> {
  await sql.begin(async (tx) => {
    for (const table of ownTables) {
      await tx.unsafe(`delete from clerk_sync.${table}`)
      await tx.unsafe(
        `insert into clerk_sync.${table} overriding system value
           select * from json_populate_recordset(null::clerk_sync.${table}, $1::text::json)`,
        [backup.own[table]],
      )
    }
    await tx`select setval('clerk_sync.runs_id_seq', ${isRowsAlone ? 1 : backup.lastRunId}::bigint, ${!isRowsAlone})`
  })
}
