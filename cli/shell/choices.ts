// What the shell offers to choose from: the lots, and the user's own reservations.
import { input, password, search } from '@inquirer/prompts'
import { LIVE_STATUSES, type ReservationStatus } from '../../shared/reservation.js'
import { Plate } from '../../shared/schemas.js'
import { noteChange, sentence, type Shown } from '../acts.js'
import { refusalText } from '../client.js'
import type { Desk } from '../desk.js'
import { allPages, type LotResult } from '../lots.js'
import { inOrder, keptReservations } from '../secrets.js'
import { printable } from '../table.js'
import type { Shell } from './shell.js'

/** Kept reservations that are asked about, the nearest first: each is a request. */
const MOST_KEPT = 50
const PAGE = 12

export interface Choice<T> { readonly value: T, readonly name: string, readonly short: string }

/** Asks for one of `choices`; typing narrows them down. `other` makes one of what was typed, where it may be something else. */
export async function choose<T> ({ questions }: Pick<Shell, 'questions'>, message: string, choices: readonly Choice<T>[], other?: (term: string) => Choice<T> | null, again: 'again' | 'once' = 'once'): Promise<T> {
  const source = (term = ''): Choice<T>[] => {
    const made = other?.(term.trim()) ?? null
    return [...narrowed(choices, term), ...(made === null ? [] : [made])]
  }
  return await questions.ask(async context => await search<T>({ message, source, pageSize: Math.max(PAGE, again === 'again' ? choices.length : 0) }, context), again)
}

/** Those that have every word in them; those that begin with what was typed come first. */
export function narrowed<T> (choices: readonly Choice<T>[], term: string): Choice<T>[] {
  const words = term.toLowerCase().split(/\s+/).filter(word => word !== '')
  const fitting = choices.filter(({ name }) => words.every(word => name.toLowerCase().includes(word)))
  const begins = ({ name }: Choice<T>): boolean => name.toLowerCase().startsWith(term.trim().toLowerCase())
  return [...fitting.filter(begins), ...fitting.filter(choice => !begins(choice))]
}

/** One of the lots, with what is free there now; null when there is none to choose, which has been said. */
export async function chooseLot (shell: Shell, message = 'Which lot?'): Promise<string | null> {
  const reply = await allPages<LotResult>(shell.desk.call, 'lots')
  if (!reply.ok) {
    shell.say(refusalText(reply.error))
    return null
  }
  const { lots } = reply.result as { lots: LotResult[] }
  if (lots.length === 0) {
    shell.say('there are no lots yet; an operator makes one with `parkmq lot add`')
    return null
  }
  const width = Math.max(...lots.map(({ lot }) => lot.length))
  return await choose(shell, message, lots.map(({ lot, name, free, capacity, open, quality }) => {
    const now = open ? `${free} of ${capacity} free` : 'closed'
    return { value: lot, short: lot, name: `${lot.padEnd(width)}  ${name === lot ? '' : `${printable(name)}, `}${now}${quality === 'live' ? '' : ` (${quality})`}` }
  }))
}

/** A reservation that was chosen, with its secret where it is not kept. */
export interface Chosen { readonly reservation: string, readonly secret?: string, readonly shown: Shown | null }

/** One of the user's own in one of these statuses, or another by its id. */
export async function chooseReservation (shell: Shell, message: string, statuses: readonly ReservationStatus[]): Promise<Chosen> {
  const own = (await ownReservations(shell.desk)).filter(({ status }) => statuses.includes(status as ReservationStatus))
  const choices: Choice<Chosen | 'other'>[] = []
  for (const shown of own) choices.push({ value: { reservation: shown.reservation, shown }, short: shown.reservation, name: await sentence(shell.desk, shown) })
  const another: Choice<'other'> = { value: 'other', short: 'another', name: own.length === 0 ? 'none of yours fits: one that was made elsewhere, by its id' : 'another, by its id' }
  const chosen = await choose<Chosen | 'other'>(shell, message, [...choices, another])
  return chosen === 'other' ? await elsewhere(shell) : chosen
}

async function elsewhere ({ questions }: Shell): Promise<Chosen> {
  const reservation = await questions.ask(async context => await input({
    message: 'Its id, such as R-7K2M9QXA4BCD:', validate: text => /^R-[0-9A-Z]{12}$/.test(text.trim().toUpperCase()) || `${text} is not an id; it begins with R- and has 12 more signs`
  }, context))
  const secret = await questions.ask(async context => await password({ message: 'Its secret (nothing if you are logged in as who made it, or it is kept here):', mask: true }, context))
  return { reservation: reservation.trim().toUpperCase(), shown: null, ...(secret !== '' && { secret }) }
}

/**
 * The user's own reservations that are not over: those whose secrets are kept, as they are now, and where a user is logged in those
 * that `list` shows. Throws when they cannot be asked about.
 */
export async function ownReservations (desk: Desk): Promise<Shown[]> {
  const own = new Map<string, Shown>()
  const kept = inOrder(keptReservations(), desk.nowMs()).filter(({ status }) => status === undefined || isLive(status)).slice(0, MOST_KEPT)
  const replies = await Promise.all(kept.map(async ({ reservation, secret }) => await desk.call('get', { reservation, secret })))
  for (const reply of replies) {
    if (reply.ok) {
      const shown = reply.result as Shown
      own.set(shown.reservation, shown)
      noteChange(desk, shown)
    } else if (reply.error.code !== 'unknown_reservation' && reply.error.code !== 'not_yours') {
      // Those two are of another parkmq, or long forgotten.
      throw new Error(refusalText(reply.error))
    }
  }
  // Without a user, everybody's are listed: nobody's own can be told apart.
  if (desk.client.options.username !== undefined) {
    const reply = await desk.call('list', { limit: 1_000 })
    if (!reply.ok) throw new Error(refusalText(reply.error))
    for (const shown of (reply.result as { reservations: Shown[] }).reservations) own.set(shown.reservation, shown)
  }
  return [...own.values()].filter(({ status }) => isLive(status)).sort((a, b) => a.from < b.from ? -1 : 1)
}

function isLive (status: string): boolean {
  return LIVE_STATUSES.includes(status as ReservationStatus)
}

/** The plate of a car, in capitals without separators; the one that was used last is offered. */
export async function choosePlate ({ questions }: Shell, message = 'Number plate?'): Promise<string> {
  const last = keptReservations().toSorted((a, b) => a.until < b.until ? 1 : -1)[0]?.plate
  const typed = await questions.ask(async context => await input({
    message, ...(last !== undefined && { default: last }),
    validate: text => Plate.safeParse(text).success || `${text === '' ? 'nothing' : text} is not a plate; write 1 to 16 letters, digits, blanks or hyphens`
  }, context))
  return Plate.parse(typed)
}
