// Clerk's times and ours between JavaScript's milliseconds and Postgres's timestamps, exact to the millisecond.
import { sql } from 'drizzle-orm'

/** A time column of the row `u` in ms, exact, also where a hand wrote `infinity` or the year 20000. */
export const epochMs = (column: string) =>
  sql`(extract(epoch from u.${sql.identifier(column)}) * 1000)::float8`

/** A time as JavaScript and Postgres both write it, exact to the millisecond; beyond the years 1 to 9999, infinity. */
export function isoTime(milliseconds: number): string {
  if (milliseconds > Date.parse('9999-12-31T23:59:59.999Z')) return 'infinity'
  if (milliseconds < Date.parse('0001-01-01T00:00:00.000Z')) return '-infinity'
  return new Date(milliseconds).toISOString()
}

/** A moment in SQL, given in ms. */
export const moment = (milliseconds: number) => sql`${isoTime(milliseconds)}::timestamptz(3)`
