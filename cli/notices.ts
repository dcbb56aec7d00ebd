// Messages that come on a client's Response Topic after the reply: what became of a place on a waiting list.
import type { MqttClient } from 'mqtt'
import { z } from 'zod'
import { responseBaseOf } from '../shared/mqtt-client.js'
import { Reply } from '../shared/schemas.js'
import { TimeoutError } from '../shared/requester.js'
import { noteChange, type Made } from './acts.js'
import type { Desk } from './desk.js'

const OfReservation = z.looseObject({ event: z.string(), reservation: z.string(), status: z.string(), from: z.string(), until: z.string() })
export type WaitingEnd = z.infer<typeof OfReservation> & Omit<Made, 'secret' | 'position'>

/** How often somebody who waits is asked about in any case: a notice may be lost with the connection, and who cancels elsewhere gets none. */
const ASK_EVERY_MS = 30_000

/** Calls `take` with each result that comes to this client, replies among them, until the function that is returned is called. */
export function hearResults (client: MqttClient, take: (result: unknown) => void): () => void {
  const base = `${responseBaseOf(client)}/`
  const onMessage = (topic: string, payload: Uint8Array): void => {
    if (!topic.startsWith(base)) return
    const reply = Reply.safeParse(jsonOf(payload))
    // What is no reply at all, the requester tells whoever waits for one.
    if (reply.success && reply.data.ok) take(reply.data.result)
  }
  client.on('message', onMessage)
  return () => client.off('message', onMessage)
}

/** Hears the ends of waiting from now on: to be made before `wait` is sent, for the notice may be as fast as its reply. */
export class WaitingEnds {
  readonly #ends = new Map<string, WaitingEnd>()
  readonly #desk: Desk
  readonly #stop: () => void
  #wake: (why: 'look' | 'ask') => void = () => {}

  constructor (desk: Desk) {
    this.#desk = desk
    this.#stop = hearResults(desk.client, result => {
      const end = OfReservation.safeParse(result)
      if (!end.success) return
      this.#ends.set(end.data.reservation, end.data as WaitingEnd)
      this.#wake('look')
    })
  }

  /**
   * Resolves with what became of a reservation that waits: `promoted`, `expired`, or `cancelled` by somebody; with the refusal
   * when it can no longer be asked about; null when `signal` is aborted first.
   */
  async of ({ reservation, secret }: Pick<Made, 'reservation' | 'secret'>, signal: AbortSignal): Promise<Reply | null> {
    // What came while the connection was away has not come.
    const onConnect = (): void => this.#wake('ask')
    const onAbort = (): void => this.#wake('look')
    this.#desk.client.on('connect', onConnect)
    signal.addEventListener('abort', onAbort)
    try {
      for (;;) {
        const end = this.#ends.get(reservation)
        if (end !== undefined) {
          noteChange(this.#desk, end)
          return { ok: true, result: end }
        }
        if (signal.aborted) return null
        if (await this.#woken() === 'look') continue
        const reply = await this.#ask(reservation, secret)
        if (reply !== null) return reply
      }
    } finally {
      this.#desk.client.off('connect', onConnect)
      signal.removeEventListener('abort', onAbort)
    }
  }

  close (): void { this.#stop() }

  /** Sleeps until something is to be looked at, or it is time to ask. */
  async #woken (): Promise<'look' | 'ask'> {
    let timer: NodeJS.Timeout | undefined
    const why = await new Promise<'look' | 'ask'>(resolve => {
      timer = setTimeout(() => resolve('ask'), ASK_EVERY_MS)
      this.#wake = resolve
    })
    clearTimeout(timer)
    this.#wake = () => {}
    return why
  }

  /** Null while it still waits. */
  async #ask (reservation: string, secret: string): Promise<Reply | null> {
    let reply: Reply
    try {
      reply = await this.#desk.call('get', { reservation, secret })
    } catch (error) {
      // The wait outlasts a broker that is away for a while.
      if (!(error instanceof TimeoutError)) throw error
      this.#desk.tell(`${error.message}; asking again`)
      return null
    }
    if (!reply.ok) return reply.error.code === 'unavailable' ? null : reply
    const now = reply.result as Made
    if (now.status === 'waiting') return null
    const event = now.status === 'cancelled' || now.status === 'expired' ? now.status : 'promoted'
    return { ok: true, result: { event, ...now } }
  }
}

function jsonOf (payload: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(payload).toString('utf8'))
  } catch {
    return undefined
  }
}
