// Guarantee 1, 2, 4 and 6: kill -9 of `parkmq start` at random moments under load, ten rounds on one ledger. Sensors and a
// driver send again what was not acknowledged, as real ones do. What was acknowledged is there, once, and is published.
import { connect } from 'node:net'
import mqttPacket, { type Packet } from 'mqtt-packet'
import { expect, test } from 'vitest'
import { openLedger } from '../../storage/open.js'
import { systemClock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import { createMetrics } from '../../shared/metrics.js'
import type { Id } from '../../shared/lot.js'
import { connectTestClient, testFolder } from '../support/app.js'
import { startProcess } from '../support/process.js'

const ROUNDS = 10
const GATES = 3
const WINDOW = 40
const SEED = Number(process.env.PARKMQ_TEST_SEED ?? Date.now() % 1_000_000)

/** Small and seeded: where to kill must be repeatable. */
function random (seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state ^ state >>> 15, 0x2c1b3c6d) + 0x9e3779b9) >>> 0
    return state / 2 ** 32
  }
}

/** A gate that counts cars in with QoS 1 and keeps what is not acknowledged for the next connection. */
class Gate {
  readonly name: string
  /** Messages made so far; the next has this seq + 1. */
  made = 0
  acknowledged = 0
  readonly #pending = new Map<number, number>()

  constructor (name: string) { this.name = name }

  /** Sends until the connection ends. `onAck` is told of every PUBACK. */
  async run (port: number, onAck: () => void, keepGoing: () => boolean): Promise<void> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#pending.clear()
    let again = this.acknowledged
    const parser = mqttPacket.parser({ protocolVersion: 5 })
    const fill = (): void => {
      while (this.#pending.size < WINDOW && (again < this.made || keepGoing())) {
        const seq = ++again
        this.made = Math.max(this.made, seq)
        const messageId = seq % 60_000 + 1
        this.#pending.set(messageId, seq)
        socket.write(mqttPacket.generate({ cmd: 'publish', topic: 'lots/LOT-A/sensor', qos: 1, dup: false, retain: false, messageId, payload: JSON.stringify({ sensor: this.name, epoch: 1, seq, delta: 1 }) }, { protocolVersion: 5 }))
      }
      if (this.#pending.size === 0) socket.end()
    }
    parser.on('packet', (packet: Packet) => {
      if (packet.cmd === 'connack') fill()
      if (packet.cmd !== 'puback') return
      expect(packet.reasonCode ?? 0).toBe(0)
      // PUBACKs of one connection come in the order of the messages, so all up to this one are acknowledged.
      this.acknowledged = Math.max(this.acknowledged, this.#pending.get(packet.messageId ?? 0) ?? 0)
      this.#pending.delete(packet.messageId ?? 0)
      onAck()
      fill()
    })
    await new Promise<void>(resolve => {
      socket.on('error', () => {})
      socket.on('close', () => resolve())
      socket.on('data', data => parser.parse(data))
      socket.write(mqttPacket.generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clean: true, clientId: this.name, keepalive: 60 }, { protocolVersion: 5 }))
    })
  }
}

test(`kill -9 under load, ${ROUNDS} rounds (seed ${SEED}): nothing acknowledged is lost, nothing counts twice`, { timeout: 120_000 }, async () => {
  const data = testFolder()
  const next = random(SEED)
  const gates = Array.from({ length: GATES }, (_, i) => new Gate(`gate-${i}`))
  const reserved = new Map<string, string>()
  for (let round = 0; round < ROUNDS; round++) {
    const parkmq = await startProcess(data)
    // Guarantee 6: what the first client sees is what the ledger has, and that is at least what was acknowledged.
    const watcher = await connectTestClient(`mqtt://127.0.0.1:${parkmq.port}`)
    await watcher.subscribe('lots/LOT-A/free')
    await watcher.last('lots/LOT-A/free', text => text !== '')
    const free = Number(watcher.received[0]?.text)
    const { lots: [lot] } = await watcher.request<{ lots: { counted: number, held: number, free: number }[] }>('lots', { lot: 'LOT-A' })
    expect(lot?.free).toBe(free)
    const acknowledged = gates.reduce((sum, gate) => sum + gate.acknowledged, 0)
    expect(lot?.counted).toBeGreaterThanOrEqual(50 + acknowledged)
    expect(lot?.counted).toBeLessThanOrEqual(50 + gates.reduce((sum, gate) => sum + gate.made, 0))
    for (const [requestId, reservation] of reserved) {
      expect(await watcher.request('reserve', { lot: 'LOT-B', plate: 'CRASH', requestId })).toMatchObject({ reservation })
    }

    const killAfter = 200 + Math.floor(next() * 3_000)
    let acks = 0
    let dead = false
    const requestId = `crash-round-${String(round).padStart(6, '0')}`
    void watcher.request<{ reservation: string }>('reserve', { lot: 'LOT-B', plate: 'CRASH', requestId }).then(reply => reserved.set(requestId, reply.reservation), () => {})
    const killed = new Promise<void>(resolve => {
      for (const gate of gates) {
        void gate.run(parkmq.port, () => {
          if (++acks === killAfter) {
            dead = true
            void parkmq.kill().then(resolve)
          }
        }, () => !dead)
      }
    })
    await killed
    await watcher.end().catch(() => {})
  }

  // The last start: everybody sends again what was not acknowledged, and then the sums are equal.
  const parkmq = await startProcess(data)
  await Promise.all(gates.map(gate => gate.run(parkmq.port, () => {}, () => false)))
  const total = gates.reduce((sum, gate) => sum + gate.made, 0)
  expect(gates.reduce((sum, gate) => sum + gate.acknowledged, 0)).toBe(total)
  const client = await connectTestClient(`mqtt://127.0.0.1:${parkmq.port}`)
  await client.subscribe('lots/LOT-A/state')
  const state = JSON.parse(await client.last('lots/LOT-A/state', () => true)) as { free: number, quality: string }
  expect(state.quality).toBe('live')
  const { lots: [lot] } = await client.request<{ lots: { counted: number }[] }>('lots', { lot: 'LOT-A' })
  expect(lot?.counted).toBe(50 + total)
  const { reservations } = await client.request<{ reservations: unknown[] }>('list', { lot: 'LOT-B' })
  expect(reservations.length).toBeGreaterThanOrEqual(reserved.size)
  expect(reservations.length).toBeLessThanOrEqual(ROUNDS)
  await client.end()
  expect(await parkmq.stop()).toBe(0)

  const ledger = await openLedger({ config: Config.parse({ data }), clock: systemClock, metrics: createMetrics() })
  expect(await ledger.lots(['LOT-A' as Id])).toMatchObject([{ counted: 50 + total, suspect: false }])
  await ledger.close()
})
