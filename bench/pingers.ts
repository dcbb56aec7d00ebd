// Clients that publish to a topic of their own and wait until the broker brings the message back: the round trip of a
// request and its reply without the service between.
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Histogram } from 'hdr-histogram-js'
import { newLatency } from './figures.js'
import { PUBACK, PUBLISH, PublishTemplate, SUBACK, subscribePacket, type Credentials } from './mqtt-bytes.js'
import { rawConnect, readPackets, within, type Ports } from './raw-client.js'

const PAYLOAD_BYTES = 100
/** Pause between an answer and the next ping of a client, in milliseconds: it measures waiting, not throughput. */
const PAUSE_MS = 20
/** A ping that is not answered for so long ends its client's pinging, in milliseconds; it counts with what it waited. */
const LOST_MS = 10_000

export interface Pings {
  readonly pings: number
  readonly unanswered: number
  /** Microseconds from the write of a ping to its delivery. */
  readonly latency: Histogram
}

export interface PingAs {
  /** What the topics begin with; default `bench/ping`. */
  readonly under?: string
  readonly credentials?: Credentials
}

/** `clients` ping at QoS 1 for `seconds`, each one ping at a time. */
export async function ping (ports: Ports, clients: number, seconds: number, { under = 'bench/ping', credentials }: PingAs = {}): Promise<Pings> {
  const latency = newLatency()
  let pings = 0
  let unanswered = 0
  const pingers = await Promise.all(Array.from({ length: clients }, async (_, n) => await Pinger.connect(ports, n, under, credentials)))
  const endMs = performance.now() + seconds * 1_000
  await Promise.all(pingers.map(async pinger => {
    while (performance.now() < endMs) {
      const startedMs = performance.now()
      const answered = await pinger.ping()
      pings++
      latency.recordValue(Math.max(1, Math.round((performance.now() - startedMs) * 1_000)))
      if (!answered) {
        unanswered++
        return
      }
      await sleep(PAUSE_MS)
    }
  }))
  for (const pinger of pingers) pinger.close()
  return { pings, unanswered, latency }
}

class Pinger {
  readonly #stream: Duplex
  readonly #template: PublishTemplate
  #number = 0
  #onSuback: () => void = () => {}
  #onDelivery: () => void = () => {}

  private constructor (stream: Duplex, topic: string) {
    this.#stream = stream
    this.#template = new PublishTemplate(topic, 1, PAYLOAD_BYTES)
    stream.on('error', () => stream.destroy())
    readPackets(stream, (head, bytes, at) => {
      if (head >> 4 === SUBACK) this.#onSuback()
      if (head >> 4 !== PUBLISH) return
      const idAt = at + 2 + bytes.readUInt16BE(at)
      stream.write(Buffer.from([PUBACK << 4, 2, bytes[idAt] ?? 0, bytes[idAt + 1] ?? 0]))
      if (bytes.readUInt32BE(idAt + 2) === this.#number) this.#onDelivery()
    })
  }

  static async connect (ports: Ports, n: number, under: string, credentials: Credentials | undefined): Promise<Pinger> {
    const topic = `${under}/${n}`
    const pinger = new Pinger(await rawConnect(ports, { clientId: `bench-ping-${n}`, version: 4, clean: true, credentials }), topic)
    const granted = new Promise<void>(resolve => { pinger.#onSuback = resolve })
    pinger.#stream.write(subscribePacket(topic, 1, 4))
    await within(granted, 'SUBACK')
    return pinger
  }

  /** Whether the answer came. */
  async ping (): Promise<boolean> {
    this.#number++
    return await new Promise<boolean>(resolve => {
      const lost = setTimeout(() => resolve(false), LOST_MS)
      this.#onDelivery = () => {
        clearTimeout(lost)
        resolve(true)
      }
      this.#stream.write(this.#template.packets(this.#number, 1))
    })
  }

  close (): void {
    this.#stream.destroy()
  }
}
