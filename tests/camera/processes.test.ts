// Processors as processes of their own, beside a parkmq and beside mosquitto: what is acknowledged to a camera is not lost with
// a processor that dies, several share the work, and what they say has its effect once.
import { expect, test } from 'vitest'
import { json, memoryFolder, startTestApp, type TestApp, type TestClient } from '../support/app.js'
import { startMosquitto, whyNoMosquitto } from '../support/mosquitto.js'
import { afterThisTest } from '../support/broker.js'
import { CAM, camerasFolder, frameOptions, picture, send, startCameraProcess, TWO_BAYS } from './support.js'

const noMosquitto = whyNoMosquitto()

interface Scene extends TestApp { readonly camera: TestClient, readonly watcher: TestClient }

async function start (): Promise<Scene> {
  const app = await startTestApp({ data: memoryFolder(), settings: { lots: [TWO_BAYS] } })
  const watcher = await app.connect()
  await watcher.subscribe('lots/#', 'services/camera/+/status')
  return { ...app, watcher, camera: await app.connect() }
}

/** Resolves when a processor has a frame that it has not acknowledged, or none, and nothing waits for it. */
async function inWork (watcher: TestClient, node: string, has = true): Promise<void> {
  for (;;) {
    const { clients: [row] } = await watcher.request<{ clients: { inflight: number, queued: number }[] }>('clients', { client: `parkmq-${node}-camera-cameras-any-frame` })
    if (row !== undefined && (row.inflight > 0) === has && row.queued === 0) return
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
const said = (watcher: TestClient): unknown[] => watcher.received.filter(({ topic }) => topic === 'lots/ROOF/sensor').map(({ text }) => json(text).seq)

test('a frame that a processor was killed over is looked at by its next run; of those that came meanwhile the newest', async () => {
  const { url, camera, watcher, app } = await start()
  const slow = camerasFolder({ ...CAM, lookMs: 5_000 })
  const first = await startCameraProcess(url, slow, 'p-1')
  expect(await send(camera, 'cam-1', await picture(['taken', 'free']), frameOptions(1))).toBeNull()
  await inWork(watcher, 'p-1')
  await first.kill()
  await watcher.last('services/camera/p-1/status', 'offline')
  expect(said(watcher)).toEqual([])
  await startCameraProcess(url, camerasFolder(CAM), 'p-1')
  await watcher.last('lots/ROOF/bays/R-1', 'taken')
  expect(said(watcher)).toEqual([1])
  expect(await app.ledger.read(({ kysely }) => kysely.selectFrom('sensors').select(['sensor', 'epoch', 'high', 'missing']).execute())).toEqual([{ sensor: 'cam-1', epoch: 1, high: 1, missing: 0 }])
})

test('frames that come while no processor is there: the newest of a camera is kept', async () => {
  const { url, camera, watcher } = await start()
  await (await startCameraProcess(url, camerasFolder(CAM), 'p-1')).kill()
  await watcher.last('services/camera/p-1/status', 'offline')
  for (const seq of [1, 2, 3]) expect(await send(camera, 'cam-1', await picture([seq === 3 ? 'taken' : 'free', 'free']), frameOptions(seq))).toBeNull()
  await startCameraProcess(url, camerasFolder(CAM), 'p-1')
  await watcher.last('lots/ROOF/bays/R-1', 'taken')
  expect(said(watcher)).toEqual([3])
})

test('processors take turns; one that dies leaves the frames to the other, and its own old one changes nothing when it is back', async () => {
  const { url, camera, watcher, app } = await start()
  const cameras = camerasFolder(CAM, { ...CAM, camera: 'cam-2' })
  const slow = camerasFolder({ ...CAM, lookMs: 5_000 }, { ...CAM, camera: 'cam-2', lookMs: 5_000 })
  const dies = await startCameraProcess(url, slow, 'p-1')
  await send(camera, 'cam-1', await picture(['taken', 'taken']), frameOptions(1))
  await inWork(watcher, 'p-1')
  const lives = await startCameraProcess(url, cameras, 'p-2')
  await dies.kill()
  await watcher.last('services/camera/p-1/status', 'offline')
  for (let seq = 2; seq <= 7; seq++) await send(camera, 'cam-1', await picture(['free', seq === 7 ? 'taken' : 'free']), frameOptions(seq))
  await watcher.last('lots/ROOF/bays/R-2', 'taken')
  // Back, it gets its old frame again.
  const back = await startCameraProcess(url, cameras, 'p-1')
  for (let seq = 1; seq <= 8; seq++) await send(camera, 'cam-2', await picture(['free', 'taken']), frameOptions(seq))
  await watcher.until('the last of both', ({ topic, text }) => topic === 'lots/ROOF/sensor' && json(text).sensor === 'cam-2' && json(text).seq === 8)
  for (const node of ['p-1', 'p-2']) await inWork(watcher, node, false)
  const [one, two] = [await back.stop(), await lives.stop()]
  const applied = (counts: Record<string, unknown>): number => Number(counts['parkmq_camera_frames_total{outcome=applied}'] ?? 0)
  const taken = (counts: Record<string, unknown>): number => Object.entries(counts).reduce((sum, [name, count]) => name.startsWith('parkmq_camera_frames_total') ? sum + Number(count) : sum, 0)
  // 15 frames, and the old one once more: each went to one of them.
  expect(taken(one) + taken(two)).toBeLessThanOrEqual(16)
  expect(applied(one)).toBeGreaterThan(0)
  expect(applied(two)).toBeGreaterThan(0)
  expect(await app.ledger.read(({ kysely }) => kysely.selectFrom('bays').select(['bay', 'state', 'sensor']).orderBy('bay').execute())).toEqual([
    { bay: 'R-1', state: 'free', sensor: 'cam-2' }, { bay: 'R-2', state: 'taken', sensor: 'cam-2' }
  ])
  expect(await app.ledger.read(({ kysely }) => kysely.selectFrom('sensors').select(['sensor', 'high', 'missing']).orderBy('sensor').execute())).toEqual([
    { sensor: 'cam-1', high: 7, missing: 0 }, { sensor: 'cam-2', high: 8, missing: 0 }
  ])
})

test('a processor is told what the lot refuses, and the frame does not come again', async () => {
  const { url, camera, watcher } = await start()
  const processor = await startCameraProcess(url, camerasFolder({ ...CAM, bays: ['R-1', 'R-9'] }, { ...CAM, camera: 'cam-2' }), 'p-1')
  await send(camera, 'cam-1', await picture(['free', 'free']), frameOptions(1))
  await send(camera, 'cam-2', await picture(['free', 'free']), frameOptions(1))
  await watcher.last('lots/ROOF/free', '2')
  expect(await processor.stop()).toMatchObject({ 'parkmq_camera_frames_total{outcome=unknown_bay}': 1, 'parkmq_camera_frames_total{outcome=applied}': 1 })
})

test.skipIf(noMosquitto !== null)('beside mosquitto: two processors and parkmq on one broker, one killed', async () => {
  const mosquitto = await startMosquitto()
  afterThisTest(() => mosquitto.close())
  const { app, connect } = await startTestApp({ data: memoryFolder(), settings: { lots: [TWO_BAYS], broker: mosquitto.url } })
  const [camera, watcher] = [await connect(), await connect()]
  await watcher.subscribe('lots/#')
  const cameras = camerasFolder(CAM)
  const dies = await startCameraProcess(mosquitto.url, cameras, 'p-1')
  await startCameraProcess(mosquitto.url, cameras, 'p-2')
  for (let seq = 1; seq <= 20; seq++) {
    await send(camera, 'cam-1', await picture([seq % 2 === 0 ? 'taken' : 'free', 'free']), frameOptions(seq))
    if (seq === 10) await dies.kill()
  }
  // mosquitto keeps for the dead one what it had given it: the next frames show that nothing hangs on that.
  for (let seq = 21; !said(watcher).some(one => Number(one) > 20); seq++) {
    await send(camera, 'cam-1', await picture(['taken', 'taken']), frameOptions(seq))
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  await watcher.last('lots/ROOF/free', '0')
  const [sensor] = await app.ledger.read(({ kysely }) => kysely.selectFrom('sensors').selectAll().execute())
  expect(sensor).toMatchObject({ sensor: 'cam-1', epoch: 1, missing: 0 })
})
