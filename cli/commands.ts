// All commands, each with its modules loaded when it is wanted: loading all takes a second.
import type { Command } from 'commander'

type Load = () => Promise<Command[]>

/** In the order in which `parkmq --help` lists them. */
export const COMMANDS: readonly { readonly names: readonly string[], readonly load: Load }[] = [
  { names: ['start'], load: async () => [(await import('./start.js')).startCommand()] },
  { names: ['lots', 'recount', 'lot'], load: async () => (await import('./lots.js')).lotCommands() },
  { names: ['availability'], load: async () => [(await import('./availability.js')).availabilityCommand()] },
  { names: ['reserve', 'cancel', 'arrive', 'depart', 'get', 'list'], load: async () => (await import('./reservations.js')).reservationCommands() },
  { names: ['book', 'wait', 'change', 'extend'], load: async () => (await import('./bookings.js')).bookingCommands() },
  { names: ['quote', 'permits', 'buy'], load: async () => (await import('./prices.js')).priceCommands() },
  { names: ['watch'], load: async () => [(await import('./watch.js')).watchCommand()] },
  { names: ['monitor'], load: async () => [(await import('./monitor.js')).monitorCommand()] },
  { names: ['shell'], load: async () => [(await import('./shell/command.js')).shellCommand()] },
  { names: ['clients'], load: async () => [(await import('./clients.js')).clientsCommand()] },
  { names: ['audit'], load: async () => [(await import('./audit.js')).auditCommand()] },
  { names: ['user'], load: async () => [(await import('./user.js')).userCommand()] },
  { names: ['simulate'], load: async () => [(await import('./simulate.js')).simulateCommand()] },
  { names: ['camera'], load: async () => [(await import('./camera.js')).cameraCommand()] },
  { names: ['experiment'], load: async () => [(await import('./experiment/command.js')).experimentCommand()] },
  { names: ['bench'], load: async () => [(await import('./bench.js')).benchCommand()] },
  { names: ['cluster'], load: async () => [(await import('./cluster/command.js')).clusterCommand()] },
  { names: ['doctor'], load: async () => [(await import('./doctor.js')).doctorCommand()] },
  { names: ['backup'], load: async () => [(await import('./backup.js')).backupCommand()] },
  { names: ['restore'], load: async () => [(await import('./restore.js')).restoreCommand()] }
]

/** The commands that a line which begins with this word needs: those of its module, none for `--version`, all for `--help` and what is no command. */
export async function commandsFor (word: string | undefined): Promise<Command[]> {
  if (word === '--version' || word === '-V') return []
  const wanted = COMMANDS.filter(({ names }) => word !== undefined && names.includes(word))
  return (await Promise.all((wanted.length > 0 ? wanted : COMMANDS).map(async ({ load }) => await load()))).flat()
}
