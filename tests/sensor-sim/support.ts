// Stand-ins for the far side: a ledger that counts by the rule of docs/topics.md in the plainest way, and a stock broker
// that commits to it before PUBACK, as parkmq does, and can be made to fail.
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import { Aedes, type AuthorizePublishHandler, type Client } from 'aedes'
import mqtt, { type MqttClient } from 'mqtt'
import type { Id } from '../../shared/lot.js'
import type { SensorMessage } from '../../services/sensor-sim/messages.js'
import type { Reading } from '../../services/sensor-sim/messages.js'

const REMEMBERED = 64

/** Exactly once by (lot, sensor, epoch, seq): the highest seq and the 64 before it. */
export class PlainLedger {
  readonly counted = new Map<string, number>()
  readonly outcomes = { applied: 0, duplicate: 0, tooOld: 0, oldEpoch: 0, recounts: 0 }
  readonly #sensors = new Map<string, { epoch: number, high: number, seen: Set<number> }>()

  take (lot: string, message: { sensor: string, epoch: number, seq: number, delta?: number, occupied?: number }): void {
    const key = `${lot}/${message.sensor}`
    let known = this.#sensors.get(key)
    if (!known || message.epoch > known.epoch) this.#sensors.set(key, known = { epoch: message.epoch, high: 0, seen: new Set() })
    if (message.epoch < known.epoch) { this.outcomes.oldEpoch++; return }
    if (known.seen.has(message.seq)) { this.outcomes.duplicate++; return }
    if (message.seq < known.high - REMEMBERED) { this.outcomes.tooOld++; return }
    known.seen.add(message.seq)
    known.high = Math.max(known.high, message.seq)
    for (const seq of known.seen) if (seq < known.high - REMEMBERED) known.seen.delete(seq)
    this.outcomes.applied++
    if (message.occupied !== undefined) this.outcomes.recounts++
    this.counted.set(lot, message.occupied ?? (this.counted.get(lot) ?? 0) + (message.delta ?? 0))
  }
}

export function countedBy (messages: Iterable<SensorMessage>): PlainLedger {
  const ledger = new PlainLedger()
  for (const message of messages) ledger.take(message.lot, message)
  return ledger
}

/** Cars by lot, without any exactly-once rule. */
export function sumOf (readings: Iterable<Reading>): Map<string, number> {
  const sums = new Map<string, number>()
  for (const { lot, delta } of readings) sums.set(lot, (sums.get(lot) ?? 0) + delta)
  return sums
}

export interface StandIn {
  readonly ledger: PlainLedger
  readonly port: number
  readonly url: string
  /** Payloads of sensor messages in the order they came, redeliveries included. */
  readonly payloads: string[]
  /** Cuts every connection. */
  cut (): void
  /** Ends the broker's process, so to say: connections, port and sessions go. */
  stop (): Promise<void>
  /** The same ledger behind a new broker on the same port. */
  start (): Promise<void>
}

export interface StandInOptions {
  /** Called when a sensor message is committed and not yet acknowledged. True: the connection is cut instead of the PUBACK. */
  readonly cutAfterCommit?: (messages: number) => boolean
  /** Lots that are refused with 0x87 and this reason. */
  readonly refuse?: (lot: string) => string | null
  /** Never acknowledges from this message on. */
  readonly silentFrom?: number
}

const SENSOR = /^lots\/([^/]+)\/sensor$/

export async function startStandIn (options: StandInOptions = {}): Promise<StandIn> {
  const ledger = new PlainLedger()
  const payloads: string[] = []
  const sockets = new Set<Socket>()
  let port = 0
  let running: { broker: Aedes, server: Server } | null = null
  const authorizePublish: AuthorizePublishHandler = (client, packet, done) => {
    const lot = SENSOR.exec(packet.topic)?.[1]
    if (lot === undefined) return done(null)
    const refusal = options.refuse?.(lot)
    if (refusal) return done(Object.assign(new Error(refusal), { reasonCode: 0x87 }))
    payloads.push(packet.payload.toString())
    ledger.take(lot, JSON.parse(packet.payload.toString()) as Parameters<PlainLedger['take']>[1])
    if (options.silentFrom !== undefined && payloads.length >= options.silentFrom) return
    if (options.cutAfterCommit?.(payloads.length)) {
      (client as Client).conn.destroy()
      return
    }
    done(null)
  }
  const start = async (): Promise<void> => {
    const broker = await Aedes.createBroker({ authorizePublish })
    const server = createServer(socket => {
      socket.setNoDelay(true)
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      broker.handle(socket)
    })
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
    running = { broker, server }
  }
  const cut = (): void => { for (const socket of sockets) socket.destroy() }
  const stop = async (): Promise<void> => {
    if (!running) return
    const { broker, server } = running
    running = null
    const closed = once(server, 'close')
    server.close()
    cut()
    await closed
    await new Promise<void>(resolve => broker.close(resolve))
  }
  await start()
  return { ledger, payloads, port, url: `mqtt://127.0.0.1:${port}`, cut, stop, start }
}

/** A client as the command line has it. */
export async function connect (url: string): Promise<MqttClient> {
  const client = await mqtt.connectAsync(url, { protocolVersion: 5, reconnectPeriod: 50, reconnectOnConnackError: true })
  client.on('connect', () => (client.stream as Socket).setNoDelay(true));
  (client.stream as Socket).setNoDelay(true)
  return client
}

export function id (text: string): Id {
  return text as Id
}
