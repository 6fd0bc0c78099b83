import { defineConfig } from 'drizzle-kit'

// `db:generate` needs no database; `db:studio` reads the same DATABASE_URL as the tool itself.
export default defineConfig({
  dialect: 'postgresql',
  schema: './src/db/schema.ts',
  out: './drizzle',
  schemaFilter: ['public', 'clerk_sync'],
  dbCredentials: { url: process.env.DATABASE_URL ?? '' },
})
