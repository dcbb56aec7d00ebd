// What one client of a bench asks next: it makes reservations and gives them back, so that a lot never fills up and a
// bench may last as long as it likes. Told only what was answered; it knows no sockets and no time but what it is given.
import { createRandom, type Random } from '../shared/random.js'
import { MINUTE_BYTES, PLATE_BYTES, REQUEST_ID_BYTES, requestTemplate, RESERVATION_BYTES, SECRET_BYTES, type Act, type RequestTemplate } from './acts.js'

/** `reads`: availability; `writes`: reserve and cancel in turn; `bookings`: book and cancel in turn; `mixed`: 80 reads to 20 writes, among them book, change and cancel. */
export const WORKLOADS = ['reads', 'writes', 'bookings', 'mixed'] as const
export type Workload = (typeof WORKLOADS)[number]

const MIXED_READS = 0.8
/** Of the reads in `mixed`, how many ask for a window. */
const WINDOW_READS = 0.25
const MINUTE_MS = 60_000
/** Windows begin from a day ahead to a month ahead and last one to four hours. */
const AHEAD_MINUTES = [1_440, 43_200] as const
const LASTS_MINUTES = [60, 240] as const
/** `"reservation":"` in a reply, and the same of the secret. */
const RESERVATION_KEY = Buffer.from('"reservation":"')
const SECRET_KEY = Buffer.from('"secret":"')

export interface AskerParts {
  readonly workload: Workload
  readonly lots: readonly string[]
  readonly replyTo: string
  readonly requestIds: boolean
  readonly seed: number
  /** Number of this client in its run. */
  readonly client: number
  /** 8 letters and digits that no other run against the same broker has: it is in plates and request ids. */
  readonly run: string
  readonly nowMs: number
}

/** A reservation that its maker may still change or give back. */
interface Reserved {
  readonly id: Buffer
  readonly secret: Buffer
}

/** What is being asked; `about` is what a `change` or `cancel` is about. */
export interface Asked {
  readonly act: Act
  readonly template: RequestTemplate
  readonly about: Reserved | null
}

export class Asker {
  readonly #parts: AskerParts
  readonly #random: Random
  readonly #templates = new Map<string, RequestTemplate>()
  readonly #holds: Reserved[] = []
  readonly #booked: Reserved[] = []
  readonly #changed: Reserved[] = []
  #asked = 0
  #turn = 0
  #made = 0

  constructor (parts: AskerParts) {
    if (parts.run.length !== 8) throw new RangeError(`the name of a run has 8 letters, unlike ${parts.run}`)
    this.#parts = parts
    this.#random = createRandom(parts.seed, `asker ${parts.client}`)
    this.#turn = parts.client
  }

  /** Fills in the next request. `tidying`: only gives back what it has; null when it has nothing. */
  next (tidying: boolean): Asked | null {
    this.#asked++
    if (tidying) return this.#giveBack()
    switch (this.#parts.workload) {
      case 'reads': return this.#ask('availability')
      case 'writes': return this.#giveBack() ?? this.#ask('reserve')
      case 'bookings': return this.#giveBack() ?? this.#ask('book')
      case 'mixed':
        if (this.#random.next() >= MIXED_READS) return this.#mixedWrite()
        return this.#ask(this.#random.next() < WINDOW_READS ? 'availability of a window' : 'availability')
    }
  }

  /** The reply to what was asked: its payload is `bytes` from `at` to `end`. */
  answered ({ act, about }: Asked, ok: boolean, bytes: Buffer, at: number, end: number): void {
    if (!ok) return
    if (act === 'reserve' || act === 'book') {
      const made = reservedIn(bytes.subarray(at, end))
      if (made !== null) (act === 'reserve' ? this.#holds : this.#booked).push(made)
    } else if (act === 'change' && about !== null) {
      this.#changed.push(about)
    }
  }

  #mixedWrite (): Asked {
    const booked = this.#booked.shift()
    if (booked !== undefined) return this.#ask('change', booked)
    return this.#giveBack() ?? this.#ask(this.#made++ % 2 === 0 ? 'reserve' : 'book')
  }

  #giveBack (): Asked | null {
    const reserved = this.#changed.shift() ?? this.#holds.shift() ?? this.#booked.shift()
    return reserved === undefined ? null : this.#ask('cancel', reserved)
  }

  #ask (act: Act, about: Reserved | null = null): Asked {
    const { lots } = this.#parts
    const lot = lots[this.#turn++ % lots.length] ?? ''
    const template = this.#templateOf(act, lot)
    this.#fill(act, template, about)
    return { act, template, about }
  }

  #templateOf (act: Act, lot: string): RequestTemplate {
    const key = `${act} ${lot}`
    let template = this.#templates.get(key)
    if (template === undefined) {
      const { replyTo, requestIds } = this.#parts
      this.#templates.set(key, template = requestTemplate({ act, lot, replyTo, requestIds }))
    }
    return template
  }

  #fill (act: Act, template: RequestTemplate, about: Reserved | null): void {
    const { run, client, requestIds } = this.#parts
    const number = this.#asked.toString(36)
    if (act === 'reserve' || act === 'book') {
      // 16 characters are all that a plate has: two of the client, five of the number, which is 60 million.
      template.hole('plate').write(`X${run}${client.toString(36).padStart(2, '0')}${number.padStart(5, '0')}`, 0, PLATE_BYTES, 'latin1')
    }
    if (act === 'book' || act === 'availability of a window') this.#fillWindow(template)
    if (about !== null) {
      about.id.copy(template.hole('reservation'))
      about.secret.copy(template.hole('secret'))
    }
    if (requestIds && act !== 'availability' && act !== 'availability of a window') {
      // The number first: as in the ids of the command line (shared/requester.ts), those of one time lie side by side.
      template.hole('requestId').write(`${run}${number.padStart(12, '0')}${client.toString(36).padStart(4, '0')}`, 0, REQUEST_ID_BYTES, 'latin1')
    }
  }

  #fillWindow (template: RequestTemplate): void {
    const { nowMs } = this.#parts
    const fromMs = nowMs - nowMs % MINUTE_MS + this.#random.int(...AHEAD_MINUTES) * MINUTE_MS
    const toMs = fromMs + this.#random.int(...LASTS_MINUTES) * MINUTE_MS
    template.hole('from').write(minuteOf(fromMs), 0, MINUTE_BYTES, 'latin1')
    template.hole('to').write(minuteOf(toMs), 0, MINUTE_BYTES, 'latin1')
  }
}

/** `2026-11-21T08:00Z` */
function minuteOf (ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16)}Z`
}

/** The reservation and its secret in a reply; null when it has none, as an echo. */
function reservedIn (reply: Buffer): Reserved | null {
  const id = valueBehind(reply, RESERVATION_KEY, RESERVATION_BYTES)
  const secret = valueBehind(reply, SECRET_KEY, SECRET_BYTES)
  return id === null || secret === null ? null : { id, secret }
}

function valueBehind (reply: Buffer, key: Buffer, length: number): Buffer | null {
  const at = reply.indexOf(key)
  return at < 0 ? null : Buffer.from(reply.subarray(at + key.length, at + key.length + length))
}
