// A full disk and a data folder that turns read-only, on a small tmpfs: nothing is acknowledged that is not stored, clients
// are closed so that they send again, requests get `unavailable`, and when there is room again nothing is lost or doubled.
import { describe, expect, onTestFinished, test } from 'vitest'
import type { MqttClient } from 'mqtt'
import { connectMqtt } from '../../shared/mqtt-client.js'
import { connectTestClient, json } from '../support/app.js'
import { failing, fillDisk, lackedForFaults, smallDisk, syncingSlowly, type BeginFault } from '../support/faulty-disk.js'
import { startProcess } from '../support/process.js'

const lacked = lackedForFaults()
if (lacked !== null) console.warn(`skipped: tests with a failing disk need ${lacked}`)

/** It is taken for slow for a while after it is fast again, since commits that fail tell nothing of it. */
const SLOWLY = syncingSlowly('ledger.db', 10)

const FAULTS = {
  'a full disk': { begin: fillDisk },
  // So that commits are done beside the event loop, and fail there.
  'a full disk that syncs slowly': { begin: fillDisk, before: SLOWLY },
  // As on a file system that the kernel has made read-only.
  'a file system that turned read-only': { begin: failing('ledger.db', 'pwrite64', 'EROFS') },
  'a disk that cannot be synced': { begin: failing('ledger.db', 'fdatasync,fsync', 'EIO') },
  'a slow disk that cannot be synced': { begin: failing('ledger.db', 'fdatasync,fsync', 'EIO'), before: SLOWLY }
}

/** A sensor that sends one message at a time and again until it is acknowledged. */
async function send (client: MqttClient, seq: number): Promise<void> {
  await client.publishAsync('lots/LOT-A/sensor', JSON.stringify({ sensor: 'gate-1', epoch: 1, seq, delta: 1 }), { qos: 1 })
}

describe.skipIf(lacked !== null).each(Object.entries<{ begin: BeginFault, before?: BeginFault }>(FAULTS))('%s', (_, { begin, before }) => {
  test('is survived without loss or double effect', { timeout: 60_000 }, async () => {
    const disk = smallDisk(4)
    const parkmq = await startProcess(disk)
    const url = `mqtt://127.0.0.1:${parkmq.port}`
    const client = await connectTestClient(url)
    await client.subscribe('lots/LOT-A/free')
    const gate = await connectMqtt(url, { clientId: 'gate-1', reconnect: true, clean: false, sessionExpirySeconds: 600 })
    onTestFinished(async () => { await gate.endAsync(true) })
    let next = 1
    const slow = await before?.(disk, parkmq.process)
    // So many that a slow disk is known to be slow.
    while (next <= 12) await send(gate, next++)
    await slow?.mend()
    await client.last('lots/LOT-A/free', '38')

    const fault = await begin(disk, parkmq.process)
    // It may take a few messages until the write-ahead log needs room.
    const sentBefore = next - 1
    const closed = new Promise<number | undefined>(resolve => { gate.once('disconnect', packet => resolve(packet.reasonCode)) })
    const acknowledged: number[] = []
    const sent: Promise<void>[] = []
    const sending = (async () => {
      let isClosed = false
      void closed.then(() => { isClosed = true })
      while (!isClosed && next < 2_000) {
        const seq = next++
        const one = send(gate, seq).then(() => { acknowledged.push(seq) })
        sent.push(one)
        await Promise.race([one, closed])
      }
    })()
    // Server busy: 0x88 is for CONNACK only (docs/decisions/006).
    expect(await closed).toBe(0x89)
    await sending
    const requester = await connectTestClient(url)
    const reply = new Promise<Record<string, unknown>>(resolve => {
      requester.mqtt.on('message', (topic, text) => { if (topic === 'replies/disk') resolve(json(text.toString())) })
    })
    await requester.mqtt.subscribeAsync('replies/disk', { qos: 1 })
    requester.mqtt.publish('requests/reserve', '{"lot":"LOT-B","plate":"X1","requestId":"disk-full-request"}', { qos: 1, properties: { responseTopic: 'replies/disk' } }, () => {})
    expect(await reply).toMatchObject({ ok: false, error: { code: 'unavailable' } })
    expect(parkmq.log.some(line => String(line.msg).includes('unavailable'))).toBe(true)
    expect(parkmq.process.exitCode).toBeNull()

    await fault.mend()
    // The gate sends again by itself what was not acknowledged; then everything is there, once.
    await Promise.all(sent)
    expect(acknowledged).toHaveLength(next - 1 - sentBefore)
    const after = await connectTestClient(url)
    expect(await after.request('lots', { lot: 'LOT-A' })).toMatchObject({ lots: [{ counted: 50 + next - 1, quality: 'live' }] })
    const reserved = await after.request('reserve', { lot: 'LOT-B', plate: 'X1', requestId: 'disk-full-request' })
    expect(reserved).toMatchObject({ status: 'held' })
    expect(await after.request('list', { lot: 'LOT-B' })).toMatchObject({ reservations: [{ reservation: reserved.reservation }] })
    expect(await parkmq.stop()).toBe(0)
  })
})
