// A bad network between clients and a broker: it loses, doubles and delays PUBLISH packets both ways, by a seed, and
// passes all other packets on at once, unchanged. It is for messages of QoS 0 without topic aliases: a lost PUBLISH of QoS
// 1 would keep its place in the sender's window for ever, and one that sets an alias would take later ones with it.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { createFate, type Fate, type PacketFaults } from './faults.js'
import { PacketSplitter, topicOfPublish } from './packets.js'

const HOST = '127.0.0.1'

export type Direction = 'toBroker' | 'toClients'

/** PUBLISH packets of one direction. */
export interface FaultCounts {
  /** As they came, before any fault. */
  came: number
  lost: number
  doubled: number
}

export class FaultProxy {
  readonly counts: Readonly<Record<Direction, FaultCounts>> = { toBroker: noFaults(), toClients: noFaults() }
  readonly url: string
  readonly #server: Server
  readonly #faults: PacketFaults
  readonly #sockets = new Set<Socket>()
  readonly #published = new Map<string, number>()
  readonly #whenEmpty = new Set<() => void>()
  /** Copies that are on their way. */
  #held = 0
  #isCalm = false

  private constructor (server: Server, brokerPort: number, faults: PacketFaults) {
    this.#server = server
    this.#faults = faults
    this.url = `mqtt://${HOST}:${(server.address() as AddressInfo).port}`
    let connections = 0
    server.on('connection', client => {
      const number = connections++
      const broker = connect({ port: brokerPort, host: HOST, noDelay: true })
      client.setNoDelay(true)
      this.#join(client, broker, 'toBroker', number)
      this.#join(broker, client, 'toClients', number)
    })
  }

  /** Listens on a free port of the loopback. The fate of a packet depends on the number of its connection, from 0. */
  static async open (brokerPort: number, faults: PacketFaults): Promise<FaultProxy> {
    const server = createServer().listen(0, HOST)
    await once(server, 'listening')
    return new FaultProxy(server, brokerPort, faults)
  }

  /** How many PUBLISH packets clients have sent on this topic, before any fault. */
  published (topic: string): number {
    return this.#published.get(topic) ?? 0
  }

  /** Ends all faults, and resolves when what was late has arrived. */
  async calm (): Promise<void> {
    this.#isCalm = true
    if (this.#held > 0) await new Promise<void>(resolve => this.#whenEmpty.add(resolve))
  }

  /** Cuts all connections. Safe to call twice. */
  async close (): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }

  #join (from: Socket, into: Socket, direction: Direction, number: number): void {
    const splitter = new PacketSplitter()
    const fate = createFate(this.#faults, `${direction} ${number}`)
    const late = new Set<NodeJS.Timeout>()
    this.#sockets.add(from)
    from.on('data', (chunk: Buffer) => {
      try {
        for (const packet of splitter.push(chunk)) this.#pass(packet, into, direction, fate, late)
      } catch (error) {
        from.destroy(error as Error)
      }
    })
    // `close` follows, and ends the other side as well.
    from.on('error', () => {})
    from.on('close', () => {
      this.#sockets.delete(from)
      for (const timer of late) clearTimeout(timer)
      this.#release(late.size)
      late.clear()
      into.destroy()
    })
  }

  #pass (packet: Buffer, into: Socket, direction: Direction, fate: Fate, late: Set<NodeJS.Timeout>): void {
    const topic = topicOfPublish(packet)
    if (topic !== null && direction === 'toBroker') this.#published.set(topic, this.published(topic) + 1)
    if (topic === null || this.#isCalm) {
      into.write(packet)
      return
    }
    const counts = this.counts[direction]
    const delaysMs = fate()
    counts.came++
    if (delaysMs.length === 0) counts.lost++
    if (delaysMs.length > 1) counts.doubled++
    for (const delayMs of delaysMs) {
      this.#held++
      const timer = setTimeout(() => {
        into.write(packet)
        late.delete(timer)
        this.#release(1)
      }, delayMs)
      late.add(timer)
    }
  }

  #release (copies: number): void {
    this.#held -= copies
    if (this.#held > 0) return
    for (const resolve of this.#whenEmpty) resolve()
    this.#whenEmpty.clear()
  }
}

function noFaults (): FaultCounts {
  return { came: 0, lost: 0, doubled: 0 }
}
