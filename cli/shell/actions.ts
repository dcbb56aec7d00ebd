// What the shell can do. Each action asks for what its command takes, and does it through the same function.
import { confirm, select } from '@inquirer/prompts'
import { LIVE_STATUSES, type ReservationStatus } from '../../shared/reservation.js'
import { book, change, extend, reserve, sentence, step, wait, type Made, type Wanted } from '../acts.js'
import { freeInDays, freeInWindow, freeNow } from '../availability.js'
import { endText, stillWaiting } from '../bookings.js'
import { seconds } from '../client.js'
import { readDays } from '../days.js'
import { done } from '../desk.js'
import { WaitingEnds, type WaitingEnd } from '../notices.js'
import { readShift } from '../times.js'
import { chooseLot, choosePlate, chooseReservation, ownReservations } from './choices.js'
import { monitorLot } from './monitor.js'
import { buyPermit, quoteStay, showPermits } from './prices.js'
import { report, type Shell } from './shell.js'
import { askFor, askWindow, readEnd, readMoment } from './when.js'

export interface Action {
  readonly name: string
  readonly does: string
  readonly run: (shell: Shell) => Promise<void>
}

export const ACTIONS: readonly Action[] = [
  { name: 'availability', does: 'the free places: now, in a window of time, or in the hours of days', run: showAvailability },
  { name: 'reserve', does: 'hold a place from now until you come', run: holdPlace },
  { name: 'book', does: 'book a place for a window of time', run: bookPlace },
  { name: 'wait', does: 'take a place as soon as there is one', run: waitForPlace },
  { name: 'change', does: 'change a reservation: its times, its lot or its plate', run: changeOne },
  { name: 'extend', does: 'make a reservation end later', run: extendOne },
  { name: 'cancel', does: 'give a reservation back, or leave the waiting list', run: async shell => await stepOne(shell, 'cancel', ['waiting', 'booked', 'held', 'arriving']) },
  { name: 'arrive', does: 'say that the car has arrived', run: async shell => await stepOne(shell, 'arrive', ['booked', 'held']) },
  { name: 'depart', does: 'say that the car has left', run: async shell => await stepOne(shell, 'depart', ['arriving', 'arrived', 'overstayed']) },
  { name: 'my reservations', does: 'those that are not over', run: showOwn },
  { name: 'quote', does: 'what a stay costs', run: quoteStay },
  { name: 'permits', does: 'the permits that are sold', run: showPermits },
  { name: 'buy a permit', does: 'for a car', run: buyPermit },
  { name: 'monitor', does: 'watch a lot for a while', run: monitorLot }
]

async function showAvailability (shell: Shell): Promise<void> {
  const { desk, questions } = shell
  const when = await questions.ask(async context => await select({
    message: 'When?',
    choices: [
      { value: 'now', name: 'now, in all lots' }, { value: 'today', name: 'the hours of today' }, { value: 'week', name: 'the hours of seven days' },
      { value: 'days', name: 'the hours of other days' }, { value: 'window', name: 'a window of time' }
    ]
  }, context))
  if (when === 'now') return void report(shell, await freeNow(desk))
  const lot = await chooseLot(shell)
  if (lot === null) return
  if (when === 'window') return void report(shell, await freeInWindow(desk, lot, await askWindow(shell)))
  const days = when === 'days' ? await askFor(shell, 'Which days? (mon,tue or 2026-12-24)', text => readDays(text, '')) : readDays(when, '')
  report(shell, await freeInDays(desk, lot, days))
}

async function holdPlace (shell: Shell): Promise<void> {
  const lot = await chooseLot(shell)
  if (lot === null) return
  const plate = await choosePlate(shell)
  const holdSeconds = await askFor(shell, 'For how long? (90s, 15m, at most 1h)', text => seconds(text, ''), '5m')
  report(shell, await reserve(shell.desk, lot, plate, holdSeconds))
}

async function bookPlace (shell: Shell): Promise<void> {
  const lot = await chooseLot(shell)
  if (lot === null) return
  const plate = await choosePlate(shell)
  report(shell, await book(shell.desk, lot, plate, await askWindow(shell)))
}

async function waitForPlace (shell: Shell): Promise<void> {
  const { desk, questions } = shell
  const lot = await chooseLot(shell)
  if (lot === null) return
  const plate = await choosePlate(shell)
  const isNow = await questions.ask(async context => await select({ message: 'For when?', choices: [{ value: true, name: 'now: a hold, as soon as a place is free' }, { value: false, name: 'a window of time' }] }, context))
  const window = isNow ? null : await askWindow(shell)
  const ends = new WaitingEnds(desk)
  try {
    const waited = await wait(desk, lot, plate, window)
    if (!report(shell, waited)) return
    const made = (waited.reply as { result: unknown }).result as Made
    if (made.status !== 'waiting' || !await questions.ask(async context => await confirm({ message: 'Stay until there is a place? (Ctrl-C leaves you on the list)', default: true }, context))) return
    shell.say('waiting...')
    const end = await shell.lasting(async signal => await ends.of(made, signal))
    if (end === null) shell.say(stillWaiting(made))
    else report(shell, await done<WaitingEnd>(end, async result => await endText(desk, result)))
  } finally {
    ends.close()
  }
}

async function changeOne (shell: Shell): Promise<void> {
  const { desk, questions } = shell
  const { reservation, secret } = await chooseReservation(shell, 'Which reservation?', LIVE_STATUSES.filter(status => status !== 'waiting'))
  const what = await questions.ask(async context => await select({
    message: 'What is to change?',
    choices: [
      { value: 'shift', name: 'both ends, by as much' }, { value: 'from', name: 'its begin' }, { value: 'to', name: 'its end' },
      { value: 'both', name: 'begin and end' }, { value: 'lot', name: 'its lot' }, { value: 'plate', name: 'its plate' }
    ] as const
  }, context))
  const wanted = await askChange(shell, what)
  if (wanted !== null) report(shell, await change(desk, reservation, wanted, secret))
}

async function askChange (shell: Shell, what: 'shift' | 'from' | 'to' | 'both' | 'lot' | 'plate'): Promise<Wanted | null> {
  switch (what) {
    case 'shift': return { shiftMinutes: await askFor(shell, 'By how much? (30m is later, -30m earlier)', text => readShift(text, '')) }
    case 'from': return { from: await askFor(shell, 'From when? (19:00 of its day, or 2026-12-24 19:00)', readMoment) }
    case 'to': return { to: await askFor(shell, 'Until when? (22:00 is the first one after its begin, or 2026-12-24 22:00)', readMoment) }
    case 'both': return {
      from: await askFor(shell, 'From when? (19:00 of its day, or 2026-12-24 19:00)', readMoment),
      to: await askFor(shell, 'Until when? (22:00 is the first one after its begin, or 2026-12-24 22:00)', readMoment)
    }
    case 'lot': {
      const lot = await chooseLot(shell, 'Which lot instead?')
      return lot === null ? null : { lot }
    }
    case 'plate': return { plate: await choosePlate(shell, 'Which plate instead?') }
    default: return what satisfies never
  }
}

async function extendOne (shell: Shell): Promise<void> {
  const { reservation, secret } = await chooseReservation(shell, 'Which reservation?', LIVE_STATUSES.filter(status => status !== 'waiting'))
  const end = await askFor(shell, 'Until when, or by how much? (22:00, 30m: counted from the end that was booked)', readEnd)
  report(shell, await extend(shell.desk, reservation, 'minutes' in end ? { byMinutes: end.minutes } : end, secret))
}

async function stepOne (shell: Shell, method: 'cancel' | 'arrive' | 'depart', statuses: readonly ReservationStatus[]): Promise<void> {
  const { reservation, secret, shown } = await chooseReservation(shell, 'Which reservation?', statuses)
  if (method === 'cancel') {
    const which = shown === null ? reservation : await sentence(shell.desk, shown)
    if (!await shell.questions.ask(async context => await confirm({ message: `Give it back? ${which}`, default: true }, context))) return shell.say('nothing was changed')
  }
  report(shell, await step(shell.desk, method, { reservation }, secret))
}

async function showOwn (shell: Shell): Promise<void> {
  const own = await ownReservations(shell.desk)
  if (own.length === 0) return shell.say('you have no reservations that are not over')
  const lines: string[] = []
  for (const shown of own) lines.push(await sentence(shell.desk, shown))
  shell.say(lines.join('\n'))
}
