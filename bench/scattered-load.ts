// Sensor messages from many identities in many lots over a few connections, in the process that calls it: which identity
// speaks next is drawn at random, so that neither a cache nor a batch gets more of them twice than chance allows. A gateway sends
// like this; `gate-load.ts` is one sensor a connection.
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { createRandom, type Random } from '../shared/random.js'
import { newLatency } from './figures.js'
import { filledLot, filledSensor } from './filled-ledger.js'
import { latencyOf, recordMs, type Latency } from './latency.js'
import { PUBACK, uint16 } from './mqtt-bytes.js'
import { PacketTemplate, writeNumber } from './packet-template.js'
import { rawConnect, readPackets, type Ports } from './raw-client.js'

export interface ScatteredParts {
  readonly ports: Ports
  readonly lots: number
  /** In all; the same number in each lot. */
  readonly identities: number
  readonly publishers: number
  /** Unacknowledged messages of each publisher. */
  readonly window: number
  readonly seed: number
}

export interface ScatteredFigures {
  readonly sent: number
  readonly acknowledged: number
  /** From the first message to the last PUBACK. */
  readonly seconds: number
  /** From a message to its PUBACK. */
  readonly ack: Latency
  readonly closed: readonly string[]
}

const SEQ_BYTES = 9
const DELTA_BYTES = 2
/** Nothing new for so long ends the waiting, in milliseconds. */
const STALL_MS = 10_000
const TICK_MS = 1

/** The same identities over many runs against one system: their numbers go on. */
export class ScatteredLoad {
  readonly #parts: ScatteredParts
  /** Number of the last message of each identity. */
  readonly #seqs: Uint32Array
  readonly #publishers: Publisher[]

  constructor (parts: ScatteredParts) {
    if (parts.identities % parts.lots !== 0) throw new RangeError(`${parts.identities} identities cannot be shared out among ${parts.lots} lots`)
    this.#parts = parts
    this.#seqs = new Uint32Array(parts.identities)
    this.#publishers = Array.from({ length: parts.publishers }, (_, n) => new Publisher(parts, n, this.#seqs))
  }

  async connect (): Promise<void> {
    for (const publisher of this.#publishers) await publisher.connect(this.#parts.ports)
  }

  disconnect (): void {
    for (const publisher of this.#publishers) publisher.close()
  }

  /** Sends so many messages of all publishers together and waits for their PUBACKs, or until nothing comes any more. */
  async run (messages: number): Promise<ScatteredFigures> {
    const latency = newLatency()
    const each = Math.ceil(messages / this.#publishers.length)
    const startedMs = performance.now()
    let lastMs = startedMs
    for (const publisher of this.#publishers) {
      publisher.begin(each, sentMs => {
        lastMs = performance.now()
        recordMs(latency, lastMs - sentMs)
      })
    }
    const sum = (of: (publisher: Publisher) => number): number => this.#publishers.reduce((all, one) => all + of(one), 0)
    let seen = -1
    let sinceMs = performance.now()
    while (sum(one => one.acknowledged) < each * this.#publishers.length && performance.now() - sinceMs < STALL_MS) {
      const acknowledged = sum(one => one.acknowledged)
      if (acknowledged !== seen) sinceMs = performance.now()
      seen = acknowledged
      await sleep(TICK_MS)
    }
    return {
      sent: sum(one => one.sent), acknowledged: sum(one => one.acknowledged), seconds: (lastMs - startedMs) / 1_000, ack: latencyOf(latency),
      closed: this.#publishers.flatMap(({ closed }) => closed === null ? [] : [closed])
    }
  }
}

/** Speaks for every identity whose number, divided by the number of publishers, leaves its own: no other speaks for it. */
class Publisher {
  sent = 0
  acknowledged = 0
  closed: string | null = null
  readonly #parts: ScatteredParts
  readonly #number: number
  readonly #seqs: Uint32Array
  readonly #random: Random
  readonly #template: PacketTemplate<'lot' | 'packetId' | 'sensor' | 'seq' | 'delta'>
  /** When each of those that are on their way was sent, by its packet identifier. */
  readonly #sentMs = new Float64Array(65_536)
  #stream: Duplex | null = null
  #messages = 0
  #lastId = 0
  #ackId = 0
  #onAck: (sentMs: number) => void = () => {}

  constructor (parts: ScatteredParts, number: number, seqs: Uint32Array) {
    this.#parts = parts
    this.#number = number
    this.#seqs = seqs
    this.#random = createRandom(parts.seed, `scattered ${number}`)
    const [lot, sensor] = [filledLot(0), filledSensor(0)]
    this.#template = new PacketTemplate(0x32, [
      uint16(`lots/${lot}/sensor`.length), 'lots/', { hole: 'lot', bytes: lot.length }, '/sensor', { hole: 'packetId', bytes: 2 },
      '{"sensor":"', { hole: 'sensor', bytes: sensor.length }, '","epoch":1,"seq":', { hole: 'seq', bytes: SEQ_BYTES }, ',"delta":', { hole: 'delta', bytes: DELTA_BYTES }, '}'
    ])
  }

  async connect (ports: Ports): Promise<void> {
    this.closed = null
    const stream = this.#stream = await rawConnect(ports, { clientId: `bench-gateway-${this.#number}`, version: 4, clean: true })
    stream.on('error', error => { this.closed ??= error.message })
    stream.once('close', () => { this.closed ??= 'closed by the broker' })
    readPackets(stream, head => {
      if (head >> 4 !== PUBACK) return
      this.acknowledged++
      this.#ackId = this.#ackId % 65_535 + 1
      this.#onAck(this.#sentMs[this.#ackId] ?? 0)
    }, () => this.#fill())
    this.#lastId = this.#ackId = 0
  }

  begin (messages: number, onAck: (sentMs: number) => void): void {
    this.sent = this.acknowledged = 0
    this.#messages = messages
    this.#onAck = onAck
    this.#fill()
  }

  close (): void {
    this.closed ??= 'closed by the bench'
    this.#stream?.destroy()
  }

  #fill (): void {
    const count = Math.min(this.#parts.window - (this.sent - this.acknowledged), this.#messages - this.sent)
    if (count <= 0 || this.closed !== null) return
    const { bytes } = this.#template
    const all = Buffer.allocUnsafe(bytes.length * count)
    const nowMs = performance.now()
    for (let i = 0; i < count; i++) {
      this.#next(nowMs)
      bytes.copy(all, i * bytes.length)
    }
    this.sent += count
    this.#stream?.write(all)
  }

  /** Every identity's cars come and go in turn. */
  #next (nowMs: number): void {
    const { identities, lots, publishers } = this.#parts
    const mine = Math.ceil((identities - this.#number) / publishers)
    const identity = this.#random.int(0, mine - 1) * publishers + this.#number
    const perLot = identities / lots
    const seq = this.#seqs[identity] = (this.#seqs[identity] ?? 0) + 1
    this.#lastId = this.#lastId % 65_535 + 1
    this.#sentMs[this.#lastId] = nowMs
    const template = this.#template
    template.hole('lot').write(filledLot(Math.floor(identity / perLot)), 'latin1')
    template.hole('packetId').writeUInt16BE(this.#lastId)
    template.hole('sensor').write(filledSensor(identity % perLot), 'latin1')
    writeNumber(template.hole('seq'), seq)
    writeNumber(template.hole('delta'), seq % 2 === 1 ? 1 : -1)
  }
}
