// `book`, `wait`, `change` and `extend`: places for a window of time, and waiting lists.
import type { Command } from 'commander'
import { book, change, extend, sentence, wait, type Made, type Wanted } from './acts.js'
import { clientCommand, printReply, tellOfConnection, UsageError, type ClientOptions } from './client.js'
import { doAndPrint, withDesk, type Desk } from './desk.js'
import { EXIT } from './exit.js'
import { WaitingEnds, type WaitingEnd } from './notices.js'
import { SECRET_HELP, withSecret } from './reservations.js'
import { readMinutes, readShift, readTime, readWindow, TIME_HELP, type WrittenWindow } from './times.js'

export interface WindowOptions { from?: string, to?: string, for?: string }

export function bookingCommands (): Command[] {
  return [bookCommand(), waitCommand(), changeCommand(), extendCommand()]
}

/** The options of `readWindow`. */
export function withWindow (command: Command): Command {
  return command
    .option('--from <time>', 'when it begins')
    .option('--to <time>', 'when it ends; that instant is no longer part of it')
    .option('--for <length>', 'instead of --to: how long it lasts, such as 2h or 1h30m')
}

function bookCommand (): Command {
  return withWindow(clientCommand('book', 'book a place for a window of time')
    .argument('<lot>', 'id of the lot, such as LOT-A')
    .argument('<plate>', 'number plate, such as ABC123'))
    .addHelpText('after', `${TIME_HELP}\n${SECRET_HELP}\n\nExamples:\n  parkmq book LOT-A ABC123 --from 18:30 --for 2h\n  parkmq book LOT-A ABC123 --from "tomorrow 22:00" --to 06:00\n  parkmq book LOT-A ABC123 --from 2026-12-24T18:30 --to 2026-12-26T10:00`)
    .action(async (lot: string, plate: string, options: ClientOptions & WindowOptions) => {
      const window = readWindow(options)
      if (window === null) throw new UsageError('book needs --from with --to or --for, such as --from 18:30 --for 2h; `reserve` holds a place from now')
      await doAndPrint(options, async desk => await book(desk, lot, plate, window))
    })
}

function waitCommand (): Command {
  return withWindow(clientCommand('wait', 'take a place as soon as there is one: now if there is, else in the order of the waiting list')
    .argument('<lot>', 'id of the lot, such as LOT-A')
    .argument('<plate>', 'number plate, such as ABC123'))
    .option('--follow', 'stay until there is a place or the time is up; Ctrl-C leaves it on the list')
    .addHelpText('after', `\nWithout a window it waits for a hold, which is short: come when the place is there. With --follow the exit code is 1 when the time was up\nfirst. \`parkmq cancel\` leaves the list.\n${TIME_HELP}\n${SECRET_HELP}\n\nExamples:\n  parkmq wait LOT-A ABC123 --follow\n  parkmq wait LOT-A ABC123 --from "tomorrow 08:00" --for 9h`)
    .action(async (lot: string, plate: string, options: ClientOptions & WindowOptions & { follow?: boolean }) => {
      const window = readWindow(options)
      if (options.follow) await waitAndFollow(options, lot, plate, window)
      else await doAndPrint(options, async desk => await wait(desk, lot, plate, window))
    })
}

async function waitAndFollow (options: ClientOptions, lot: string, plate: string, window: WrittenWindow | null): Promise<void> {
  const stopping = new AbortController()
  // From the beginning: who is on the list without knowing its secret could not leave it.
  const onSignal = (): void => stopping.abort()
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  await withDesk(options, async desk => {
    tellOfConnection(desk.client, desk.tell)
    const ends = new WaitingEnds(desk)
    try {
      const { reply, text } = await wait(desk, lot, plate, window)
      const made = printReply<Made>(options, reply, () => text)
      if (made?.status !== 'waiting') return
      const end = await ends.of(made, stopping.signal)
      if (end === null) return desk.tell(stillWaiting(made))
      const said = end.ok ? await endText(desk, end.result as WaitingEnd) : ''
      const ended = printReply<WaitingEnd>(options, end, () => said)
      if (ended !== null && ended.event !== 'promoted') process.exitCode = EXIT.refused
    } finally {
      ends.close()
    }
  }, { reconnect: true })
}

/** What Ctrl-C leaves behind. */
export function stillWaiting ({ reservation, lot, plate }: Pick<Made, 'reservation' | 'lot' | 'plate'>): string {
  return `${reservation} still waits in ${lot}; what became of it: parkmq get ${reservation}, or parkmq list --plate ${plate}; to leave the list: parkmq cancel ${reservation}`
}

/** What became of one that waited. */
export async function endText (desk: Desk, end: WaitingEnd): Promise<string> {
  const said = await sentence(desk, end)
  return end.event === 'promoted' ? `there is a place now: ${said}` : end.event === 'expired' ? `there was no place in time: ${said}` : said
}

function changeCommand (): Command {
  return withSecret(clientCommand('change', 'change a reservation: its times, its lot or its plate, all or nothing')
    .argument('<reservation>', 'id of the reservation, such as R-7K2M9QXA4BCD')
    .option('--shift <length>', 'move both ends, such as 30m for later or -30m for earlier')
    .option('--from <time>', 'a new begin')
    .option('--to <time>', 'a new end')
    .option('--lot <lot>', 'another lot')
    .option('--plate <plate>', 'another plate'))
    .addHelpText('after', `\nWhat does not fit changes nothing. A time of day alone is of the day on which the reservation begins, and as an end the first one after the begin.\n${TIME_HELP}\n\nExamples:\n  parkmq change R-7K2M9QXA4BCD --shift -30m\n  parkmq change R-7K2M9QXA4BCD --from 19:00 --to 22:00 --lot LOT-B`)
    .action(async (reservation: string, options: ClientOptions & { secret?: string, shift?: string, from?: string, to?: string, lot?: string, plate?: string }) => {
      const { shift, from, to, lot, plate } = options
      if (shift !== undefined && [from, to, lot, plate].some(value => value !== undefined)) throw new UsageError('--shift moves the times and changes nothing else; give it alone, or --from and --to instead')
      const wanted: Wanted = {
        ...(shift !== undefined && { shiftMinutes: readShift(shift, '--shift') }), ...(from !== undefined && { from: readTime(from, '--from') }),
        ...(to !== undefined && { to: readTime(to, '--to') }), ...(lot !== undefined && { lot }), ...(plate !== undefined && { plate })
      }
      if (Object.keys(wanted).length === 0) throw new UsageError('change needs something to change: --shift, or some of --from, --to, --lot and --plate')
      await doAndPrint(options, async desk => await change(desk, reservation, wanted, options.secret))
    })
}

function extendCommand (): Command {
  return withSecret(clientCommand('extend', 'make a reservation end later')
    .argument('<reservation>', 'id of the reservation, such as R-7K2M9QXA4BCD')
    .option('--until <time>', 'it ends then, or later if it did before')
    .option('--by <length>', 'it ends so much later than it was booked for, such as 30m: the same once more adds nothing'))
    .addHelpText('after', `${TIME_HELP}\n\nExamples:\n  parkmq extend R-7K2M9QXA4BCD --until 22:00\n  parkmq extend R-7K2M9QXA4BCD --by 30m`)
    .action(async (reservation: string, { until, by, ...options }: ClientOptions & { secret?: string, until?: string, by?: string }) => {
      if ((until === undefined) === (by === undefined)) throw new UsageError('extend needs either --until, such as --until 22:00, or --by, such as --by 30m')
      const longer = until === undefined ? { byMinutes: readMinutes(by ?? '', '--by') } : readTime(until, '--until')
      await doAndPrint(options, async desk => await extend(desk, reservation, longer, options.secret))
    })
}
