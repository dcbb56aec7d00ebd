// What waits for a consumer's next batch. All of it in the order it came while it fits into one; else each sender has his turn,
// so that whoever sends much makes himself wait, and nobody else for longer than each of them takes once.
import type { Delivery } from './bus.js'

export interface Waiting<Ticket> {
  readonly delivery: Delivery
  readonly ticket: Ticket
}

type Sender = string | undefined

/** Those of one sender stay in their order whatever happens. */
export class WaitingLine<Ticket> {
  /** As they came; while there are turns, those that have none yet. */
  #inOrder: Waiting<Ticket>[] = []
  /** Of each sender, none empty, and whose turn it is first. */
  #inTurn = new Map<Sender, Waiting<Ticket>[]>()
  #length = 0

  get length (): number { return this.#length }

  push (one: Waiting<Ticket>): void {
    this.#length++
    this.#inOrder.push(one)
  }

  /** The next ones, at most so many. `inTurn`: each sender has his turn, whether the others fit or not. */
  take (most: number, inTurn: boolean): Waiting<Ticket>[] {
    const isAll = this.#inOrder.length === this.#length && this.#length <= most
    const taken = isAll && !inTurn ? this.#inOrder.splice(0) : this.#takeInTurn(most)
    this.#length -= taken.length
    return taken
  }

  /** What was taken last, or the end of it, comes first again, and so do its senders. */
  putBack (back: readonly Waiting<Ticket>[]): void {
    this.#giveTurns()
    const others = this.#inTurn
    this.#inTurn = new Map()
    for (const one of back) this.#pushInTurn(one)
    for (const [sender, line] of others) this.#inTurn.set(sender, this.#inTurn.get(sender)?.concat(line) ?? line)
    this.#length += back.length
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
    // Who is put at the end meanwhile comes round again.
    for (const [sender, line] of this.#inTurn) {
      taken.push(line.shift() as Waiting<Ticket>)
      this.#inTurn.delete(sender)
      if (line.length > 0) this.#inTurn.set(sender, line)
      if (taken.length === most) break
    }
    return taken
  }
}
