// The command line. Only here the process ends with a code: 0 done, 1 refused, 2 wrong usage, 3 unreachable, 130 stopped by Ctrl-C.
import { Command, CommanderError } from 'commander'
import { messageOf } from '../shared/errors.js'
import { commandsFor } from './commands.js'
import { EXIT } from './exit.js'
import { version } from './version.js'

const program = new Command('parkmq')
  .description('Smart parking on MQTT 5: live occupancy and reservations that are never lost.')
  .version(version)
  .showHelpAfterError('(--help shows how)')
  .exitOverride()
  // Otherwise options behind `simulate cameras` would be those of `simulate`.
  .enablePositionalOptions()

for (const command of await commandsFor(process.argv[2])) program.addCommand(inherit(command))

/** A parse error of any command becomes an exception, so that it has our exit code. */
function inherit (command: Command): Command {
  command.exitOverride().showHelpAfterError('(--help shows how)')
  for (const child of command.commands) inherit(child)
  return command
}

/** The exit code of anything thrown; prints what a person can use. */
function failed (error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage
  const code = error instanceof Error ? (error as Error & { code?: unknown }).code : undefined
  process.stderr.write(`parkmq: ${messageOf(error)}\n`)
  if (code === 'usage' || code === 'bad_config' || code === 'bad_url' || code === 'bad_certificate') return EXIT.usage
  if (code === 'stopped') return EXIT.stopped
  return code === 'unreachable' || code === 'timeout' ? EXIT.unreachable : EXIT.refused
}

// `parkmq watch | head` is done when head is.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT.done)
  throw error
})

try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = failed(error)
}
