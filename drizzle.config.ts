import { defineConfig } from 'drizzle-kit'
import { loadDatabase } from './src/config/config.ts'

// Only `studio` gets an address: `generate` needs none, and `push` would drop the tables that the app has.
export default defineConfig({
  dialect: 'postgresql',
  schema: './src/db/schema.ts',
  out: './drizzle',
  schemaFilter: ['public', 'clerk_sync'],
  ...(process.argv.includes('studio') ? { dbCredentials: { url: databaseUrl() } } : {}),
})

/** The DATABASE_URL that the tool itself would use, from `.env.local`, `.env` or the environment. */
function databaseUrl(): string {
  const { database } = loadDatabase()
  if ('url' in database) return database.url
  throw new Error(
    'DATABASE_URL is not set; `npm run db:studio` starts and shows the embedded Postgres instead',
  )
}
