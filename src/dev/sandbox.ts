// `npm run sandbox`: the sandbox by hand, until Ctrl+C. It prints what to put into `.env` and reads nothing from it.
import { InvalidArgumentError } from 'commander'
import { createProgram, refuseSwallowedFlags } from '../cli/command-line.ts'
import { reportStartupError } from '../cli/startup-error.ts'
import { createSandbox, seedUsers } from './sandbox/sandbox.ts'

const wholeNumber = (max: number) => (text: string) => {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value > max)
    throw new InvalidArgumentError(`It must be a whole number up to ${max}.`)
  return value
}

const program = createProgram('npm run sandbox --')
  .description('A local stand-in for the Clerk Users API, filled with invented users.')
  .option('--port <number>', 'the port to listen on, 0 for any free one', wholeNumber(65_535), 4010)
  .option('--users <number>', 'how many users it starts with', wholeNumber(1_000_000), 3217)
  .option('--seed <number>', 'the seed of those users', wholeNumber(2 ** 32 - 1), 1)
  .option('--production', 'answer as a production instance (1,000 requests per 10 s, not 100)', false)
  .action(runSandbox)

interface SandboxFlags {
  readonly port: number
  readonly users: number
  readonly seed: number
  readonly production: boolean
}

const isTaken = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'

const count = new Intl.NumberFormat('en-US')

async function runSandbox({ port, users, seed, production }: SandboxFlags): Promise<void> {
  try {
    const sandbox = await createSandbox({
      port,
      users: seedUsers({ count: users, seed }),
      environmentType: production ? 'production' : 'development',
    })
    const authorization = `-H 'Authorization: Bearer ${sandbox.secretKey}'`
    process.stdout.write(`The sandbox has ${count.format(users)} users (seed ${seed}) and listens on ${sandbox.url}.

Put these lines into .env to point \`npm run sync\` at it:

CLERK_SECRET_KEY=${sandbox.secretKey}
CLERK_API_URL=${sandbox.url}
CLERK_WEBHOOK_SIGNING_SECRET=${sandbox.webhookSecret}

Look at a user, and make one:

curl ${authorization} '${sandbox.url}/v1/users?limit=1'
curl ${authorization} '${sandbox.url}/v1/users' -d '{"first_name":"Ada","email_address":["ada@example.com"]}'

Ctrl+C stops it; the users are gone then.
`)
    const stop = () => void sandbox.close()
    process.once('SIGINT', stop)
    process.once('SIGTERM', stop)
  } catch (error) {
    if (!isTaken(error)) throw error
    process.stderr.write(`Port ${port} is taken. Choose another one: npm run sandbox -- --port ${port + 1}\n`)
    process.exitCode = 1
  }
}

try {
  refuseSwallowedFlags(program, process.argv.slice(2))
  await program.parseAsync()
} catch (error) {
  process.exitCode = reportStartupError(error, process.argv.slice(2))
}
