// `bench`: measures parkmq on this machine, beside what one would use instead. Everything of it is in bench/, which reads its
// own options and is loaded by this command alone: the others would start a third of a second later with it.
import { Command } from 'commander'

export function benchCommand (): Command {
  return new Command('bench')
    .description('measure parkmq on this machine beside other brokers, and write a report with plots')
    .usage('[scenario ...] [options]')
    .argument('[args...]', 'scenarios and options; `parkmq bench --help` tells them all')
    .helpOption(false)
    .allowUnknownOption()
    .action(async (_args: string[], _options: object, { args }: Command) => {
      const { bench } = await import('../bench/command.js')
      process.exit(await bench(args, 'parkmq bench'))
    })
}
