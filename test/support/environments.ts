// What else than a new Postgres and its owner the database's tests run with, what that needs on this machine, and which
// tests those are: what speaks to the database, as far as minutes allow.

interface Environment {
  /** A program that has to be there, and how it comes there. */
  readonly needs?: { readonly program: string; readonly from: string }
  readonly files: readonly string[]
}

/** Where Debian's packages put the programs. */
export const postgres15Folder = '/usr/lib/postgresql/15/bin'
export const pgbouncerPath = '/usr/sbin/pgbouncer'

/** By the name of the vitest project. */
export const environments: Readonly<Record<string, Environment>> = {
  'postgres-15': {
    needs: { program: `${postgres15Folder}/postgres`, from: 'Debian’s package postgresql-15' },
    files: ['db/*', 'sync/{convergence,constraints,odd-rows}'],
  },
  pgbouncer: {
    needs: { program: pgbouncerPath, from: 'Debian’s package pgbouncer' },
    files: ['db/*', 'sync/{convergence,constraints,moving,withheld,delivery,delivery-races}', 'cli/lease'],
  },
  'minimal-role': {
    files: ['db/*', 'sync/{convergence,constraints,odd-rows,withheld,delivery,delivery-races}'],
  },
}
