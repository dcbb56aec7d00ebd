// Hears what became of the messages of gates: the `free` of one lot, as a display does, or the messages themselves where a broker
// merely forwards them. Acknowledges at once and notes for each message when it, or a newer one, was first heard.
import type { Duplex } from 'node:stream'
import type { Gate } from './gate.js'
import { PUBACK, PUBLISH, SUBACK, subscribePacket } from './mqtt-bytes.js'
import { rawConnect, readPackets, within, type Ports } from './raw-client.js'

/** `free`: lots/{lot}/free of each gate's lot, a connection each; `forwarded`: all messages of all gates on one. */
export type Hearing = 'free' | 'forwarded'

export class GateListener {
  readonly #gates: ReadonlyMap<string, Gate>
  readonly #hearing: Hearing
  readonly #onHeard: (dueMs: number) => void
  #stream: Duplex | null = null
  /** Messages that came, retained ones not among them. */
  updates = 0
  closed: string | null = null

  /** `onHeard` is called once for each message of a gate, with when it was due. */
  constructor (gates: readonly Gate[], hearing: Hearing, onHeard: (dueMs: number) => void) {
    this.#gates = new Map(gates.map(gate => [gate.lot, gate]))
    this.#hearing = hearing
    this.#onHeard = onHeard
  }

  async connect (ports: Ports, clientId: string): Promise<void> {
    this.closed = null
    const stream = this.#stream = await rawConnect(ports, { clientId, version: 4, clean: true })
    stream.on('error', error => { this.closed ??= error.message })
    stream.once('close', () => { this.closed ??= 'closed by the broker' })
    const [first] = this.#gates.keys()
    const filter = this.#hearing === 'free' ? `lots/${first}/free` : 'lots/+/sensor'
    const granted = new Promise<void>(resolve => {
      let acks: number[] = []
      readPackets(stream, (head, bytes, at, end) => {
        if (head >> 4 === SUBACK) resolve()
        if (head >> 4 !== PUBLISH) return
        const topicEnd = at + 2 + bytes.readUInt16BE(at)
        acks.push(PUBACK << 4, 2, bytes[topicEnd] ?? 0, bytes[topicEnd + 1] ?? 0)
        // `lots/{lot}/free`, and `lots/{lot}/sensor`.
        const lot = bytes.toString('latin1', at + 7, topicEnd - (this.#hearing === 'free' ? 5 : 7))
        const isRetained = (head & 1) === 1
        this.#heard(lot, bytes, topicEnd + 2, end, isRetained)
      }, () => {
        if (acks.length > 0) stream.write(Buffer.from(acks))
        acks = []
      })
    })
    stream.write(subscribePacket(filter, 1, 4))
    await within(granted, `SUBACK for ${clientId}`)
  }

  close (): void {
    this.closed ??= 'closed by the bench'
    this.#stream?.destroy()
  }

  #heard (lot: string, bytes: Buffer, at: number, end: number, isRetained: boolean): void {
    const gate = this.#gates.get(lot)
    if (gate === undefined) return
    if (!isRetained) this.updates++
    const newest = this.#hearing === 'free'
      ? gate.steps.newest(Number(bytes.toString('latin1', at, end)), gate.heard)
      : Number(bytes.toString('latin1', at + gate.seqAt.at, at + gate.seqAt.end))
    // An update from before this run says nothing about it.
    if (newest > gate.sent) return
    for (let n = gate.heard + 1; n <= newest; n++) this.#onHeard(gate.dueMs[n - gate.base - 1] ?? 0)
    gate.heard = Math.max(gate.heard, newest)
  }
}
