// What waits for a consumer's next batch, in the order it came. Where the consumer takes turns and not all fits into one, each sender has
// his turn, so that whoever sends much makes himself wait, and nobody else for longer than each of them takes once.
import type { Delivery } from './bus.js'

export interface Waiting<Ticket> {
  readonly delivery: Delivery
  readonly ticket: Ticket
}

type Sender = string | undefined

/** Those of one sender stay in their order whatever happens. */
export class WaitingLine<Ticket> {
  readonly #takesTurns: boolean
  /** As they came; while there are turns, those that have none yet. */
  #inOrder: Waiting<Ticket>[] = []
  /** Of each sender, none empty, and whose turn it is first. Empty where there are no turns. */
  #inTurn = new Map<Sender, Waiting<Ticket>[]>()
  #length = 0

  constructor (takesTurns: boolean) {
    this.#takesTurns = takesTurns
  }

  get length (): number { return this.#length }

  push (one: Waiting<Ticket>): void {
    this.#length++
    this.#inOrder.push(one)
  }

  /** The next ones, at most so many. */
  take (most: number): Waiting<Ticket>[] {
    const haveTurns = this.#takesTurns && (this.#inTurn.size > 0 || this.#length > most)
    const taken = haveTurns ? this.#takeInTurn(most) : this.#inOrder.splice(0, most)
    this.#length -= taken.length
    return taken
  }

  /** What was taken last, or the end of it, comes first again, and so do its senders. */
  putBack (back: readonly Waiting<Ticket>[]): void {
    this.#length += back.length
    if (!this.#takesTurns) {
      this.#inOrder.unshift(...back)
      return
    }
    this.#giveTurns()
    const others = this.#inTurn
    this.#inTurn = new Map()
    for (const one of back) this.#pushInTurn(one)
    for (const [sender, line] of others) this.#inTurn.set(sender, this.#inTurn.get(sender)?.concat(line) ?? line)
  }

  discard (isNotWanted: (ticket: Ticket) => boolean): void {
    const kept = ({ ticket }: Waiting<Ticket>): boolean => !isNotWanted(ticket)
    this.#inOrder = this.#inOrder.filter(kept)
    this.#length = this.#inOrder.length
    for (const [sender, line] of this.#inTurn) {
      const left = line.filter(kept)
      this.#length += left.length
      if (left.length > 0) this.#inTurn.set(sender, left)
      else this.#inTurn.delete(sender)
    }
  }

  #pushInTurn (one: Waiting<Ticket>): void {
    const line = this.#inTurn.get(one.delivery.clientId)
    if (line) line.push(one)
    else this.#inTurn.set(one.delivery.clientId, [one])
  }

  #giveTurns (): void {
    for (const one of this.#inOrder.splice(0)) this.#pushInTurn(one)
  }

  #takeInTurn (most: number): Waiting<Ticket>[] {
    const taken: Waiting<Ticket>[] = []
    if (most === 0) return taken
    this.#giveTurns()
    let passed = 0
    let hasGone = false
    // Who is put at the end meanwhile comes round again.
    for (const [sender, line] of this.#inTurn) {
      this.#inTurn.delete(sender)
      // All who are gone have one turn together: else whoever comes and goes would have as many as he likes.
      const isGone = line[0]?.delivery.gone?.aborted === true
      if (isGone && hasGone && passed <= this.#inTurn.size) {
        passed++
        this.#inTurn.set(sender, line)
        continue
      }
      passed = 0
      hasGone ||= isGone
      taken.push(line.shift() as Waiting<Ticket>)
      if (line.length > 0) this.#inTurn.set(sender, line)
      if (taken.length === most) break
    }
    return taken
  }
}
