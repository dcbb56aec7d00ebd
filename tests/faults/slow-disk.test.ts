// A disk that takes long to sync, below the real process: who needs no disk is served meanwhile, nothing is acknowledged before it is
// there, and kill -9 in the middle loses and doubles nothing.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { MqttClient } from 'mqtt'
import { slowlySynced } from '../../bench/processes.js'
import type { Check } from '../../cli/check.js'
import { connectMqtt } from '../../shared/mqtt-client.js'
import { connectTestClient, testFolder } from '../support/app.js'
import { lackedForFaults } from '../support/faulty-disk.js'
import { PROGRAM, startProcess, type ParkmqProcess } from '../support/process.js'

const lacked = lackedForFaults()
if (lacked !== null) console.warn(`skipped: tests with a slow disk need ${lacked}`)

/** Commits until parkmq knows how slow the disk is. */
const KNOWN_AFTER = 12
/** Messages unacknowledged at a time. */
const UNDER_WAY = 10

async function gateOf (parkmq: ParkmqProcess): Promise<MqttClient> {
  const gate = await connectMqtt(`mqtt://127.0.0.1:${parkmq.port}`, { clientId: 'gate-1' })
  onTestFinished(async () => { await gate.endAsync(true) })
  return gate
}

async function send (gate: MqttClient, seq: number): Promise<void> {
  await gate.publishAsync('lots/LOT-A/sensor', JSON.stringify({ sensor: 'gate-1', epoch: 1, seq, delta: 1 }), { qos: 1 })
}

describe.skipIf(lacked !== null)('a disk that syncs slowly', () => {
  test('holds up nobody who does not need it', { timeout: 60_000 }, async () => {
    const parkmq = await startProcess(testFolder(), [], { syncMs: 100 })
    const gate = await gateOf(parkmq)
    const client = await connectTestClient(`mqtt://127.0.0.1:${parkmq.port}`)
    await client.subscribe('hall/#')
    for (let seq = 1; seq <= KNOWN_AFTER; seq++) await send(gate, seq)

    let isCommitted = false
    const sent = send(gate, KNOWN_AFTER + 1).then(() => { isCommitted = true })
    let carried = 0
    for (let n = 0; !isCommitted; n++) {
      await client.mqtt.publishAsync('hall/lamp', String(n), { qos: 1 })
      await client.last('hall/lamp', String(n))
      carried++
    }
    await sent
    // One or two if they had to wait for the sync.
    expect(carried).toBeGreaterThan(5)
    expect(await client.request('lots', { lot: 'LOT-A' })).toMatchObject({ lots: [{ counted: 50 + KNOWN_AFTER + 1 }] })
    expect(await parkmq.stop()).toBe(0)
  })

  test('is called slow by `parkmq doctor`, with how slow it is', () => {
    const folder = testFolder()
    const [program, ...before] = slowlySynced(25)
    const doctor = spawnSync(program, [...before, PROGRAM, 'doctor', '--json', '--data', folder], { encoding: 'utf8' })
    const { checks } = JSON.parse(doctor.stdout) as { checks: Check[] }
    const disk = checks.find(check => check.name === 'disk')
    expect(disk).toMatchObject({ ok: true, warning: true })
    expect(Number(/^a sync takes (\d+) ms: each acknowledgement/.exec(disk?.said ?? '')?.[1])).toBeGreaterThanOrEqual(25)
    expect(readdirSync(folder)).toEqual([])
  })

  test('is survived by what was acknowledged when parkmq is killed in the middle of a commit', { timeout: 120_000 }, async () => {
    const data = testFolder()
    let seq = 0
    let wasInTheMiddle = false
    // It may come between two commits: then once more.
    for (let round = 0; round < 10 && !wasInTheMiddle; round++) {
      const parkmq = await startProcess(data, [], { syncMs: 50 })
      const gate = await gateOf(parkmq)
      const before = seq
      while (seq < before + KNOWN_AFTER) await send(gate, ++seq)
      let acknowledged = seq
      await new Promise<void>(resolve => {
        const sendOn = (): void => {
          // Killed.
          send(gate, ++seq).then(() => {
            acknowledged++
            if (acknowledged < before + 60) sendOn()
            else setTimeout(resolve, 10 + 5 * round)
          }, () => {})
        }
        for (let n = 0; n < UNDER_WAY; n++) sendOn()
      })
      await parkmq.kill()
      await gate.endAsync(true)

      const again = await startProcess(data)
      const client = await connectTestClient(`mqtt://127.0.0.1:${again.port}`)
      const { lots: [{ counted }] } = await client.request('lots', { lot: 'LOT-A' }) as { lots: [{ counted: number }] }
      expect(counted).toBeGreaterThanOrEqual(50 + acknowledged)
      expect(counted).toBeLessThanOrEqual(50 + seq)
      wasInTheMiddle = counted > 50 + acknowledged
      // What was not acknowledged, and some that was.
      const gateAgain = await gateOf(again)
      for (let n = acknowledged - 10; n <= seq; n++) await send(gateAgain, n)
      expect(await client.request('lots', { lot: 'LOT-A' })).toMatchObject({ lots: [{ counted: 50 + seq, quality: 'live' }] })
      await gateAgain.endAsync(true)
      expect(await again.stop()).toBe(0)
    }
    expect(wasInTheMiddle).toBe(true)
  })
})
