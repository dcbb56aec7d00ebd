// What an act of a person needs of a running parkmq: requests, the calendars of the lots, and somebody to tell. The commands
// and the shell do everything through it.
import type { MqttClient } from 'mqtt'
import type { ConnectOptions } from '../shared/mqtt-client.js'
import type { Reply } from '../shared/schemas.js'
import { messageOf } from '../shared/errors.js'
import { printReply, withService, type Call, type ClientOptions } from './client.js'
import { isKnownZone, localZone } from './shown-times.js'

export interface Desk {
  readonly call: Call
  readonly client: MqttClient
  readonly calendars: Calendars
  readonly nowMs: () => number
  /** Tells a person something that is no result. */
  readonly tell: (note: string) => void
}

/** What became of an act: the reply, and for a person what it says. */
export interface Done {
  readonly reply: Reply
  /** Empty when it was refused. */
  readonly text: string
}

/** Connects, runs `work` with a desk, and disconnects whatever happens. Notes go to stderr. */
export async function withDesk<T> (options: ClientOptions, work: (desk: Desk) => Promise<T>, connecting: Pick<ConnectOptions, 'reconnect'> = {}): Promise<T> {
  return await withService(options, async (call, client) => await work(deskOf(call, client, note => process.stderr.write(`${note}\n`))), connecting)
}

export function deskOf (call: Call, client: MqttClient, tell: (note: string) => void): Desk {
  return { call, client, calendars: new Calendars(call), nowMs: Date.now, tell }
}

/** Does one act and prints what became of it. */
export async function doAndPrint (options: ClientOptions, act: (desk: Desk) => Promise<Done>): Promise<void> {
  const { reply, text } = await withDesk(options, act)
  printReply(options, reply, () => text)
}

/** A reply with its text for a person: that of `show`, if it was not refused. */
export async function done<R> (reply: Reply, show: (result: R) => string | Promise<string>): Promise<Done> {
  return { reply, text: reply.ok ? await show(reply.result as R) : '' }
}

/** The time zones of the lots, each asked for once. */
export class Calendars {
  readonly #call: Call
  readonly #zones = new Map<string, string>()

  constructor (call: Call) { this.#call = call }

  /** The time zone of a lot, or the refusal. Throws as `Call` does, and when this machine does not know the time zone. */
  async of (lot: string): Promise<{ ok: true, timeZone: string } | Extract<Reply, { ok: false }>> {
    const known = this.#zones.get(lot)
    if (known !== undefined) return { ok: true, timeZone: known }
    const reply = await this.#call('lots', { lot })
    if (!reply.ok) return reply
    const [found] = this.#learn(reply.result)
    if (found === undefined) throw new Error(`the answer about the lot ${lot} has no lot in it`)
    if (!isKnownZone(found)) throw new Error(`this machine does not know the time zone ${found} of the lot ${lot}: write times with an offset, or install a newer Node.js`)
    return { ok: true, timeZone: found }
  }

  /** To show what has been done already: the lot's, else that of this machine. */
  async toShow (lot: string): Promise<string> {
    try {
      const found = await this.of(lot)
      return found.ok ? found.timeZone : localZone()
    } catch (error) {
      process.stderr.write(`the time zone of ${lot} is not known (${messageOf(error)}); times are those of ${localZone()}\n`)
      return localZone()
    }
  }

  /** Those of many lots at once, as `toShow`. */
  async toShowAll (lots: ReadonlySet<string>): Promise<ReadonlyMap<string, string>> {
    if (lots.size > FEW_LOTS) await this.#all()
    const zones = new Map<string, string>()
    for (const lot of lots) zones.set(lot, await this.toShow(lot))
    return zones
  }

  async #all (): Promise<void> {
    let after: string | undefined
    do {
      const reply = await this.#call('lots', { after })
      if (!reply.ok) return
      this.#learn(reply.result)
      after = (reply.result as { next?: string }).next
    } while (after !== undefined)
  }

  #learn (result: unknown): string[] {
    const { lots } = result as { lots: { lot: string, timeZone?: string }[] }
    return lots.map(({ lot, timeZone = localZone() }) => {
      if (isKnownZone(timeZone)) this.#zones.set(lot, timeZone)
      return timeZone
    })
  }
}

/** So many lots are asked for one by one. */
const FEW_LOTS = 5
