import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, onTestFinished, test } from 'vitest'
import { connectMqtt, endMqtt } from '../../shared/mqtt-client.js'
import type { Reading } from '../../services/sensor-sim/messages.js'
import { startSimulation, type Simulation, type SimulationParts } from '../../services/sensor-sim/service.js'
import { traffic } from '../../services/sensor-sim/traffic.js'
import { connect, id, startStandIn, sumOf, type StandIn, type StandInOptions } from './support.js'

const CLEAN = { seed: 1, epoch: 100, restartEvery: 0, duplicate: 0, lose: 0, reorder: 0 }
const FAULTY = { ...CLEAN, restartEvery: 150, duplicate: 0.1, reorder: 0.1 }

/** Readings of two lots with two gates each, due at once. */
function readings (count: number): Reading[] {
  return Array.from({ length: count }, (_, i) => ({ lot: id(i % 2 ? 'LOT-A' : 'LOT-B'), sensor: id(`gate-${i % 4}`), delta: i % 5 === 0 ? -1 : 1, atMs: i * 1_000, dueMs: 0 }))
}

async function standIn (options?: StandInOptions): Promise<StandIn> {
  const far = await startStandIn(options)
  onTestFinished(() => far.stop())
  return far
}

async function simulate (url: string, parts: Partial<SimulationParts>): Promise<Simulation> {
  const client = await connect(url)
  onTestFinished(() => client.endAsync(true))
  return startSimulation({ client, readings: [], startAt: new Map(), faults: CLEAN, sending: { window: 64, giveUpMs: 10_000 }, ...parts })
}

function byName (counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...counts].sort())
}

describe('a run', () => {
  test('sends every reading once and tells what it cost', async () => {
    const far = await standIn()
    const report = await (await simulate(far.url, { readings: readings(1_000) })).done
    expect(report).toMatchObject({ ending: 'done', sent: 1_000, acknowledged: 1_000, refused: 0, unacknowledged: 0, reconnects: 0, resent: 0, lost: 0, duplicated: 0, recounts: 0, simulatedMs: 999_000 })
    expect(byName(far.ledger.counted)).toEqual(byName(sumOf(readings(1_000))))
    expect(byName(report.expected)).toEqual(byName(far.ledger.counted))
    const latency = report.latencyMs
    expect(latency && latency.p50 > 0 && latency.p50 <= latency.p95 && latency.p95 <= latency.p99 && latency.p99 <= latency.max).toBe(true)
    expect(report.perSecond).toBeCloseTo(1_000 / report.seconds, 6)
  })

  test('with duplicates, overtaking and restarts the far side counts the same', async () => {
    const far = await standIn()
    const report = await (await simulate(far.url, { readings: readings(3_000), faults: FAULTY })).done
    expect(report).toMatchObject({ ending: 'done', sent: 3_000 + report.duplicated, acknowledged: report.sent, lost: 0, restarts: 16 })
    expect(report.duplicated).toBeGreaterThan(200)
    expect(report.reordered).toBeGreaterThan(200)
    expect(byName(far.ledger.counted)).toEqual(byName(sumOf(readings(3_000))))
    expect(far.ledger.outcomes.applied).toBe(3_000)
  })

  test('with losses the far side counts wrong, and a recount brings the truth back', async () => {
    const far = await standIn()
    const lossy = { ...FAULTY, lose: 0.1 }
    const report = await (await simulate(far.url, { readings: readings(2_000), faults: lossy })).done
    expect(report.lost).toBeGreaterThan(100)
    expect(report.sent).toBe(2_000 - report.lost + report.duplicated)
    expect(byName(report.expected)).toEqual(byName(sumOf(readings(2_000))))
    expect(byName(far.ledger.counted)).not.toEqual(byName(report.expected))

    const again = await (await simulate(far.url, { readings: readings(2_000), faults: { ...lossy, epoch: 10_000 }, startAt: report.expected, recountAfter: [id('LOT-A'), id('LOT-B')] })).done
    expect(again.recounts).toBe(2)
    expect(byName(far.ledger.counted)).toEqual(byName(again.expected))
    expect(again.expected.get(id('LOT-A'))).toBe(2 * (sumOf(readings(2_000)).get('LOT-A') ?? 0))
  })

  test('sets lots to a known count before the first reading, also below 0', async () => {
    const far = await standIn()
    far.ledger.counted.set('LOT-A', 77)
    const report = await (await simulate(far.url, { readings: readings(10), startAt: new Map([[id('LOT-A'), -8]]), recountBefore: [id('LOT-A')] })).done
    expect(JSON.parse(far.payloads[0] ?? '')).toEqual({ sensor: 'sim-1-attendant-1', epoch: 100, seq: 1, occupied: -8 })
    expect(far.ledger.counted.get('LOT-A')).toBe(-8 + (sumOf(readings(10)).get('LOT-A') ?? 0))
    expect(report.expected.get(id('LOT-A'))).toBe(far.ledger.counted.get('LOT-A'))
  })

  test('keeps to the time of each reading', async () => {
    const far = await standIn()
    const paced = readings(4).map((reading, i) => ({ ...reading, dueMs: i * 100 }))
    const report = await (await simulate(far.url, { readings: paced })).done
    expect(report.seconds).toBeGreaterThanOrEqual(0.299)
  })

  test('a source without an end is stopped after its time, and nothing that was taken is left out', async () => {
    const far = await standIn()
    const lots = [{ id: id('LOT-A'), capacity: 100, counted: 0 }, { id: id('LOT-B'), capacity: 50, counted: 0 }]
    const source = traffic({ lots, gates: 2, rate: 0, durationMs: 0, speed: 60, seed: 2, startMs: 0 })
    const report = await (await simulate(far.url, { readings: source, faults: FAULTY, stopAfterMs: 300 })).done
    expect(report.ending).toBe('done')
    expect(report.sent).toBeGreaterThan(100)
    expect(byName(far.ledger.counted)).toEqual(byName(report.expected))
  })

  test('an abort ends the wait for the next reading, sends what is held back, and skips the recount', async () => {
    const far = await standIn()
    const stop = new AbortController()
    function* source (): Generator<Reading> {
      yield* readings(500)
      // Ctrl-C comes while the run waits for a reading of tomorrow.
      setImmediate(() => stop.abort())
      for (;;) yield { ...readings(1)[0] as Reading, dueMs: 86_400_000 }
    }
    const report = await (await simulate(far.url, { readings: source(), faults: { ...FAULTY, reorder: 0.5 }, signal: stop.signal, recountAfter: [id('LOT-A')] })).done
    expect(report).toMatchObject({ ending: 'interrupted', unacknowledged: 0, recounts: 0 })
    expect(far.ledger.outcomes.applied).toBeGreaterThan(500)
    expect(byName(far.ledger.counted)).toEqual(byName(report.expected))
  })

  test('a fault of the source rejects and leaves no listener on the client', async () => {
    const far = await standIn()
    const client = await connect(far.url)
    onTestFinished(() => client.endAsync(true))
    const before = ['connect', 'close', 'error'].map(event => client.listenerCount(event as 'connect'))
    function* broken (): Generator<Reading> {
      yield* readings(3)
      throw new Error('no more film')
    }
    await expect(startSimulation({ client, readings: broken(), startAt: new Map(), faults: CLEAN, sending: { window: 64, giveUpMs: 1_000 } }).done).rejects.toThrow('no more film')
    expect(['connect', 'close', 'error'].map(event => client.listenerCount(event as 'connect'))).toEqual(before)
  })
})

describe('the far side fails', () => {
  test('never has more unacknowledged messages than the window, and gives up on a broker that is silent', async () => {
    const far = await standIn({ silentFrom: 11 })
    const report = await (await simulate(far.url, { readings: readings(500), sending: { window: 7, giveUpMs: 300 } })).done
    expect(report).toMatchObject({ ending: 'unreachable', sent: 17, acknowledged: 10, unacknowledged: 7 })
    expect(report.reason).toMatch(/no acknowledgement for \d+ s; 7 messages are left unacknowledged/)
    expect(report.latencyMs).not.toBeNull()
  })

  test('sends again what was committed and not acknowledged, and it counts once', async () => {
    let cuts = 0
    const far = await standIn({ cutAfterCommit: messages => messages % 150 === 0 && ++cuts <= 5 })
    const simulation = await simulate(far.url, { readings: readings(2_000), faults: FAULTY, sending: { window: 32, giveUpMs: 10_000 } })
    const report = await simulation.done
    expect(report).toMatchObject({ ending: 'done', unacknowledged: 0, acknowledged: report.sent, reconnects: 5 })
    expect(report.resent).toBeGreaterThanOrEqual(5)
    expect(far.payloads.length).toBeGreaterThan(report.sent)
    expect(byName(far.ledger.counted)).toEqual(byName(sumOf(readings(2_000))))
  })

  test('goes on where it was when the broker is stopped and started again', async () => {
    const far = await standIn()
    let restarted = Promise.resolve()
    function* source (): Generator<Reading> {
      for (const [i, reading] of readings(1_000).entries()) {
        if (i === 400) restarted = far.stop().then(() => far.start())
        yield reading
      }
    }
    const report = await (await simulate(far.url, { readings: source() })).done
    await restarted
    expect(report).toMatchObject({ ending: 'done', unacknowledged: 0, acknowledged: 1_000, reconnects: 1 })
    expect(byName(far.ledger.counted)).toEqual(byName(sumOf(readings(1_000))))
  })

  test('gives up on a broker that does not come back, and says how it fails', async () => {
    const far = await standIn()
    function* source (): Generator<Reading> {
      yield* readings(50)
      void far.stop()
      yield* readings(500)
    }
    const report = await (await simulate(far.url, { readings: source(), sending: { window: 16, giveUpMs: 500 } })).done
    expect(report.ending).toBe('unreachable')
    expect(report.unacknowledged).toBeGreaterThan(0)
    expect(report.reason).toContain('ECONNREFUSED')
  })

  test('does not take the end of its client for a refusal', async () => {
    const far = await standIn({ silentFrom: 11 })
    const client = await connectMqtt(far.url)
    const simulation = startSimulation({ client, readings: readings(500), startAt: new Map(), faults: CLEAN, sending: { window: 7, giveUpMs: 500 } })
    client.on('packetsend', () => { if (simulation.snapshot().sent === 17) far.cut() })
    expect(await simulation.done).toMatchObject({ ending: 'unreachable', acknowledged: 10, refused: 0, unacknowledged: 7 })
    await endMqtt(client)
  })

  test('counts refusals by the reason of the broker, at most 20 reasons', async () => {
    let n = 0
    const far = await standIn({ refuse: lot => lot === 'LOT-B' ? 'unknown_lot: there is no lot LOT-B' : n++ < 30 ? `odd ${n}` : null })
    const report = await (await simulate(far.url, { readings: readings(1_000) })).done
    expect(report).toMatchObject({ ending: 'done', sent: 1_000, acknowledged: 470, refused: 530, unacknowledged: 0 })
    expect(report.refusals['unknown_lot: there is no lot LOT-B']).toBe(500)
    expect(Object.keys(report.refusals)).toHaveLength(21)
    expect(report.refusals['other reasons']).toBe(11)
  })

  test('sends no reading when a lot refuses the recount before', async () => {
    const far = await standIn({ refuse: lot => lot === 'LOT-B' ? 'unknown_lot: there is no lot LOT-B' : null })
    const report = await (await simulate(far.url, { readings: readings(100), recountBefore: [id('LOT-A'), id('LOT-B')] })).done
    expect(report).toMatchObject({ ending: 'refused', sent: 2, refused: 1, simulatedMs: null })
    expect(report.reason).toMatch(/unknown_lot: there is no lot LOT-B.*--create-lots/)
    expect(far.payloads).toHaveLength(1)
  })
})

const MOSQUITTO = ['/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto', '/opt/homebrew/sbin/mosquitto'].find(path => existsSync(path))

describe.skipIf(MOSQUITTO === undefined)('on mosquitto (skipped where it is not installed)', () => {
  test('keeps to the Receive Maximum of the broker when the window is larger', async () => {
    const client = await connect(await startMosquitto(['max_inflight_messages 5']))
    onTestFinished(() => client.endAsync(true))
    let unacknowledged = 0
    let most = 0
    client.on('packetsend', packet => { if (packet.cmd === 'publish') most = Math.max(most, ++unacknowledged) })
    client.on('packetreceive', packet => { if (packet.cmd === 'puback') unacknowledged-- })
    const report = await startSimulation({ client, readings: readings(2_000), startAt: new Map(), faults: CLEAN, sending: { window: 64, giveUpMs: 10_000 } }).done
    expect(report).toMatchObject({ ending: 'done', acknowledged: 2_000, reconnects: 0 })
    expect(most).toBe(5)
  })
})

async function startMosquitto (settings: readonly string[]): Promise<string> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  const folder = mkdtempSync(join(tmpdir(), 'parkmq-mosquitto-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'm.conf'), [`listener ${port} 127.0.0.1`, 'allow_anonymous true', 'persistence false', 'log_dest stderr', ...settings, ''].join('\n'))
  const child = spawn(MOSQUITTO ?? '', ['-c', join(folder, 'm.conf')], { stdio: ['ignore', 'ignore', 'pipe'] })
  const gone = once(child, 'exit')
  onTestFinished(async () => { child.kill(); await gone })
  for await (const line of createInterface({ input: child.stderr })) if (line.includes('running')) break
  child.stderr.resume()
  return `mqtt://127.0.0.1:${port}`
}
