// One seeded simulation of the whole with one lot and holds: gates with duplicates, late messages and restarts, drivers that repeat their requests,
// operators that recount, time that passes, and a broker that is started again. After every step parkmq must say what the
// model says. Run one seed again with PARKMQ_TEST_SEED=...
import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import type { Clock } from '../../shared/clock.js'
import { freePlaces } from '../../shared/lot.js'
import { ManualClock } from '../support/clock.js'
import { connectTestClient, json, memoryFolder, startTestApp, type TestClient } from '../support/app.js'
import { Model } from './model.js'
import { choicesOf, seeds } from './random.js'

const STEPS = 1_500
const PLATES = ['AA1', 'BB2', 'CC3', 'DD4', 'EE5', 'FF6']
const TIMES = { holdMs: 60_000, arrivalGraceMs: 20_000, maxStayMs: 300_000 }
const CAPACITY = 12

interface Message { sensor: string, epoch: number, seq: number, delta: number, plate?: string }

test.each(seeds(3))('the whole agrees with the model, seed %i', { timeout: 120_000 }, async seed => {
  const { chance, below, pick } = choicesOf(seed)
  const data = memoryFolder()
  const clock = new ManualClock()
  const settings = { lots: [{ lot: 'S', capacity: CAPACITY, occupied: 4 }], times: TIMES, limits: { reservationsPerPlate: 1_000 } }
  const model = new Model(CAPACITY, 4, TIMES)
  const secrets = new Map<string, string>()
  const requestId = (n: number): string => createHash('sha256').update(`${seed} ${n}`).digest('hex').slice(0, 32)
  const gates = ['g-1', 'g-2'].map(sensor => ({ sensor, epoch: 1, seq: 0, late: [] as Message[], sent: [] as Message[] }))
  const done: { body: object, method: string, reply: Record<string, unknown> }[] = []

  let running = await open(data, clock, settings)
  const check = async (step: string): Promise<void> => {
    model.tick(clock.nowMs())
    const { lots: [lot] } = await running.client.request<{ lots: Record<string, unknown>[] }>('lots', { lot: 'S' })
    const said = { counted: lot?.counted, held: lot?.held, free: lot?.free }
    expect(said, `seed ${seed}, ${step}`).toEqual({ counted: model.counted, held: model.held, free: model.free })
    expect(model.free).toBeGreaterThanOrEqual(0)
    expect(model.held, `seed ${seed}, ${step}`).toBeLessThanOrEqual(CAPACITY)
  }
  const send = async (message: Message): Promise<void> => {
    await running.client.publish('lots/S/sensor', message)
    model.delta(message.sensor, message.epoch, message.seq, message.delta, message.plate ?? null, clock.nowMs())
  }
  const ask = async (method: string, body: object): Promise<Record<string, unknown>> => {
    const full = { ...body, requestId: requestId(done.length) }
    const reply = await running.client.request(method, full)
    done.push({ method, body: full, reply })
    return reply
  }

  for (let n = 0; n < STEPS; n++) {
    const step = `step ${n}`
    const what = below(100)
    if (what < 45) {
      const gate = pick(gates)
      if (chance(0.02)) {
        // What is late is sent before the restart: after it, it would be too old.
        for (const message of gate.late.splice(0)) await send(message)
        gate.epoch++
        gate.seq = 0
        gate.sent = []
      }
      const message: Message = { sensor: gate.sensor, epoch: gate.epoch, seq: ++gate.seq, delta: pick([1, -1, 1, -1, 2]), ...(chance(0.4) && { plate: pick(PLATES) }) }
      gate.sent.push(message)
      if (chance(0.1)) gate.late.push(message)
      else await send(message)
      // Late by at most so many that they are still in the window.
      if (gate.late.length > 5) await send(gate.late.shift() as Message)
      const first = gate.late[0]
      if (first && gate.seq - first.seq > 50) await send(gate.late.shift() as Message)
      if (chance(0.15)) {
        const again = gate.sent[gate.sent.length - 1 - below(Math.min(gate.sent.length, 60))] as Message
        if (!gate.late.includes(again)) await send(again)
      }
    } else if (what < 65) {
      const plate = pick(PLATES)
      // Of two that are made in the same millisecond none is the older one.
      clock.advance(1)
      const admitted = model.reserve(clock.nowMs())
      const reply = await ask('reserve', { lot: 'S', plate })
      expect(reply.error, `seed ${seed}, ${step}`).toBe(admitted ? undefined : 'lot_full')
      if (admitted) {
        model.made(String(reply.reservation), plate, clock.nowMs())
        secrets.set(String(reply.reservation), String(reply.secret))
      }
    } else if (what < 85 && secrets.size > 0) {
      const method = pick(['cancel', 'arrive', 'depart', 'arrive'] as const)
      const reservation = pick([...secrets.keys()].slice(-12))
      const reply = await ask(method, { reservation, secret: secrets.get(reservation) })
      expect(reply.error ?? reply.status, `seed ${seed}, ${step}`).toBe(model.request(method, reservation, clock.nowMs()))
    } else if (what < 88 && done.length > 0) {
      // A repeat, however late, gets the reply it got.
      const before = pick(done)
      expect(await running.client.request(before.method, before.body), `seed ${seed}, ${step}`).toEqual(before.reply)
    } else if (what < 90) {
      const occupied = below(CAPACITY)
      await ask('recount', { lot: 'S', occupied })
      model.recount(occupied, clock.nowMs())
    } else if (what < 99) {
      clock.advance(pick([10, 500, 5_000, 20_000, 61_000]))
    } else {
      await running.stop()
      clock.advance(pick([0, 30_000]))
      running = await open(data, clock, settings)
      // Guarantee 6: the first thing that a client sees is right.
      model.tick(clock.nowMs())
      await running.client.subscribe('lots/S/free')
      expect((await running.client.until('free', m => m.topic === 'lots/S/free')).text, `seed ${seed}, ${step}`).toBe(String(model.free))
    }
    await check(step)
  }

  // At rest the retained state is the ledger's.
  const watcher = await connectTestClient(running.url)
  await watcher.subscribe('lots/S/state')
  const [lot] = await running.ledger()
  if (!lot) throw new Error('no lot')
  const state = json(await watcher.last('lots/S/state', text => json(text).version === lot.version))
  expect(state).toMatchObject({ free: freePlaces(lot), held: lot.held })
  await running.stop()
})

async function open (data: string, clock: Clock, settings: Record<string, unknown>) {
  const { app, url } = await startTestApp({ data, clock, settings })
  const client: TestClient = await connectTestClient(url)
  return {
    client,
    url,
    ledger: async () => await app.ledger.allLots(),
    stop: async (): Promise<void> => {
      await client.end()
      await app.stop()
    }
  }
}
