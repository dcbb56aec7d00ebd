// One sensor of a lot of its own: a raw connection that publishes deltas with an identity, encoded beforehand but for their
// numbers, and knows when each was due, for whoever hears its effect.
import type { Duplex } from 'node:stream'
import { CarSteps, type StepsParts } from './car-steps.js'
import { PUBACK, string } from './mqtt-bytes.js'
import { PacketTemplate, writeNumber } from './packet-template.js'
import { rawConnect, readPackets, type Ports } from './raw-client.js'

const SEQ_BYTES = 9
const DELTA_BYTES = 7
/** One write carries at most so many messages. */
const MOST_AT_ONCE = 256

export interface GateParts extends StepsParts {
  readonly lot: string
}

export class Gate {
  readonly lot: string
  readonly steps: CarSteps
  /** When each message of this run was due, by `performance.now()`; the first is that of `base + 1`. */
  dueMs = new Float64Array(0)
  /** Number of the last message before this run. */
  base = 0
  sent = 0
  acknowledged = 0
  /** Newest message whose effect was heard. */
  heard = 0
  closed: string | null = null
  /** Called for each PUBACK, in the order of the messages. */
  onAck: (dueMs: number) => void = () => {}
  /** Called behind the PUBACKs of one read. */
  onProgress: () => void = () => {}
  readonly #template: PacketTemplate<'packetId' | 'seq' | 'delta'>
  #stream: Duplex | null = null

  constructor ({ lot, ...steps }: GateParts) {
    this.lot = lot
    this.steps = new CarSteps(steps)
    this.#template = new PacketTemplate(0x32, [
      string(`lots/${lot}/sensor`), { hole: 'packetId', bytes: 2 },
      `{"sensor":"gate-${lot}","epoch":1,"seq":`, { hole: 'seq', bytes: SEQ_BYTES }, ',"delta":', { hole: 'delta', bytes: DELTA_BYTES }, '}'
    ])
  }

  /** Where a message that is merely forwarded has its number: behind the beginning of its payload, so many bytes. */
  get seqAt (): { readonly at: number, readonly end: number } {
    const at = this.#template.offsetOf('seq') - this.#template.offsetOf('packetId') - 2
    return { at, end: at + SEQ_BYTES }
  }

  get unacknowledged (): number { return this.sent - this.acknowledged }

  async connect (ports: Ports): Promise<void> {
    this.closed = null
    const stream = this.#stream = await rawConnect(ports, { clientId: `bench-gate-${this.lot}`, version: 4, clean: true })
    stream.on('error', error => { this.closed ??= error.message })
    stream.once('close', () => {
      this.closed ??= 'closed by the broker'
      this.onProgress()
    })
    readPackets(stream, head => {
      if (head >> 4 !== PUBACK) return
      this.acknowledged++
      this.onAck(this.dueMs[this.acknowledged - this.base - 1] ?? 0)
    }, () => this.onProgress())
  }

  /** Forgets what is over; there will be at most `messages` more until the next time. */
  begin (messages: number): void {
    this.base = this.acknowledged = this.heard = this.sent
    this.dueMs = new Float64Array(messages)
  }

  /** Sends the next messages, each due when `dueMs` says of its place in this run, counted from 0. */
  send (count: number, dueMs: (place: number) => number): void {
    while (count > 0 && this.closed === null) {
      const some = Math.min(count, MOST_AT_ONCE)
      const { bytes } = this.#template
      const all = Buffer.allocUnsafe(bytes.length * some)
      for (let i = 0; i < some; i++) {
        const n = ++this.sent
        this.dueMs[n - this.base - 1] = dueMs(n - this.base - 1)
        this.#template.hole('packetId').writeUInt16BE((n - 1) % 65_535 + 1)
        writeNumber(this.#template.hole('seq'), n)
        writeNumber(this.#template.hole('delta'), this.steps.delta(n))
        bytes.copy(all, i * bytes.length)
      }
      this.#stream?.write(all)
      count -= some
    }
  }

  close (): void {
    this.closed ??= 'closed by the bench'
    this.#stream?.destroy()
  }
}
