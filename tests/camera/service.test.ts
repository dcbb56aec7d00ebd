// The camera service inside a parkmq: frames become bays, and PUBACK means that they are committed.
import { expect, test } from 'vitest'
import sharp from 'sharp'
import { counterValues } from '../../shared/metrics.js'
import { json, memoryFolder, startTestApp, type TestApp, type TestClient } from '../support/app.js'
import { CAM, camerasFolder, frameOptions, largePicture, picture, send, TWO_BAYS, WORKER, type TestCamera } from './support.js'

interface Scene extends TestApp {
  readonly camera: TestClient
  readonly watcher: TestClient
  readonly count: (outcome: string) => Promise<number>
}

async function start (camera: TestCamera = CAM, settings: Record<string, unknown> = {}): Promise<Scene> {
  const started = await startTestApp({ data: memoryFolder(), cameraWorker: WORKER, settings: { lots: [TWO_BAYS], cameras: camerasFolder(camera), ...settings } })
  const watcher = await started.connect()
  await watcher.subscribe('lots/#', 'services/camera/+/status')
  return {
    ...started, watcher, camera: await started.connect(),
    count: async outcome => (await counterValues(started.app.metrics))[`parkmq_camera_frames_total{outcome=${outcome}}`] ?? 0
  }
}
const bays = (watcher: TestClient): string[] => watcher.received.filter(({ topic }) => topic === 'lots/ROOF/sensor').map(({ text }) => JSON.stringify(json(text).bays))

test('a frame becomes one absolute message of its camera, with its epoch and seq, before its PUBACK', async () => {
  const { camera, watcher, app, count } = await start()
  expect(await send(camera, 'cam-1', await picture(['taken', 'free'], 'jpeg'), frameOptions(7, { epoch: 3, contentType: 'image/jpeg' }))).toBeNull()
  // Acknowledged: it is in the ledger now, whoever looks.
  expect(await app.ledger.read(({ kysely }) => kysely.selectFrom('bays').select(['bay', 'state', 'sensor', 'epoch', 'seq']).orderBy('bay').execute())).toEqual([
    { bay: 'R-1', state: 'taken', sensor: 'cam-1', epoch: 3, seq: 7 }, { bay: 'R-2', state: 'free', sensor: 'cam-1', epoch: 3, seq: 7 }
  ])
  const said = await watcher.until('the message', ({ topic }) => topic === 'lots/ROOF/sensor')
  expect(json(said.text)).toEqual({ sensor: 'cam-1', epoch: 3, seq: 7, at: '2026-12-01T08:00:00Z', bays: { 'R-1': 'taken', 'R-2': 'free' }, whole: true, standsForSeconds: 30 })
  await watcher.last('lots/ROOF/free', '1')
  await watcher.last('services/camera/node-1/status', 'online')
  expect(await count('applied')).toBe(1)
})

test('a frame that comes twice has its effect once', async () => {
  const { camera, watcher, count } = await start()
  const frame = await picture(['taken', 'free'])
  for (let i = 0; i < 3; i++) expect(await send(camera, 'cam-1', frame, frameOptions(1))).toBeNull()
  await send(camera, 'cam-1', await picture(['free', 'free']), frameOptions(2))
  await watcher.last('lots/ROOF/free', '2')
  expect(await send(camera, 'cam-1', frame, frameOptions(1))).toBeNull()
  expect(bays(watcher)).toEqual(['{"R-1":"taken","R-2":"free"}', '{"R-1":"free","R-2":"free"}'])
  expect([await count('applied'), await count('old')]).toEqual([2, 3])
})

test('frames that were left out are no gap, and their lot stays live', async () => {
  const { camera, watcher } = await start({ ...CAM, bays: ['R-1'] }, { times: { gapGraceMs: 0 } })
  for (const seq of [1, 40, 200, 201]) await send(camera, 'cam-1', await picture([seq % 2 === 1 ? 'taken' : 'free']), frameOptions(seq))
  await watcher.until('the last', ({ topic, text }) => topic === 'lots/ROOF/sensor' && json(text).seq === 201)
  expect(json(await watcher.last('lots/ROOF/state', text => json(text).version === 5))).toMatchObject({ quality: 'live' })
  expect(watcher.received.filter(({ topic, text }) => topic === 'lots/ROOF/events' && json(text).type === 'sensor.gap')).toEqual([])
})

test('a bay that frames are not sure of stays as it was, and is unknown after a while', async () => {
  const { camera, watcher } = await start({ ...CAM, keepSeconds: 0.3 })
  const frame = async (seq: number, square: 'taken' | 'unsure'): Promise<void> => { await send(camera, 'cam-1', await picture([square, 'free']), frameOptions(seq)) }
  await frame(1, 'taken')
  await watcher.last('lots/ROOF/bays/R-1', 'taken')
  await frame(2, 'unsure')
  await watcher.until('the second', ({ topic, text }) => topic === 'lots/ROOF/sensor' && json(text).seq === 2)
  expect(bays(watcher).at(-1)).toBe('{"R-2":"free"}')
  for (let seq = 3; watcher.received.findLast(({ topic }) => topic === 'lots/ROOF/bays/R-1')?.text !== 'unknown'; seq++) await frame(seq, 'unsure')
  expect(bays(watcher).at(-1)).toBe('{"R-1":"unknown","R-2":"free"}')
})

test.each([
  ['of an unknown camera', 'unknown_camera', async () => ({ camera: 'cam-9', bytes: await picture(['free', 'free']), options: frameOptions(1) })],
  ['of another lot', 'bad_message', async () => ({ camera: 'cam-1', bytes: await picture(['free', 'free']), options: frameOptions(1, { lot: 'LOT-A' }) })],
  ['without properties', 'bad_message', async () => ({ camera: 'cam-1', bytes: await picture(['free', 'free']), options: { qos: 1 as const, properties: { contentType: 'image/png' } } })],
  ['with a seq that is no number', 'bad_message', async () => ({ camera: 'cam-1', bytes: await picture(['free', 'free']), options: { qos: 1 as const, properties: { contentType: 'image/png', userProperties: { lot: 'ROOF', epoch: '1', seq: '-1', capturedAt: '2026-12-01T08:00:00Z' } } } })],
  ['without a content type', 'wrong_type', async () => ({ camera: 'cam-1', bytes: await picture(['free', 'free']), options: { qos: 1 as const } })],
  ['of another content type', 'wrong_type', async () => ({ camera: 'cam-1', bytes: await picture(['free', 'free']), options: frameOptions(1, { contentType: 'image/svg+xml' }) })],
  ['that is an SVG in disguise', 'wrong_type', async () => ({ camera: 'cam-1', bytes: Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="64" height="32"/>'), options: frameOptions(1) })],
  ['that is empty', 'bad_image', async () => ({ camera: 'cam-1', bytes: Buffer.alloc(0), options: frameOptions(1) })],
  ['that is truncated', 'bad_image', async () => ({ camera: 'cam-1', bytes: (await sharp({ create: { width: 640, height: 360, channels: 3, background: '#123456', noise: { type: 'gaussian', mean: 128, sigma: 40 } } }).jpeg().toBuffer()).subarray(0, 5_000), options: frameOptions(1, { contentType: 'image/jpeg' }) })],
  ['with more pixels than its limit', 'too_large', async () => ({ camera: 'cam-1', bytes: await sharp({ create: { width: 5_000, height: 5_000, channels: 3, background: '#fff' } }).png({ compressionLevel: 9 }).toBuffer(), options: frameOptions(1) })],
  ['with more bytes than its limit', 'too_large', async () => ({ camera: 'cam-1', bytes: await largePicture(['free', 'free'], 120_000), options: frameOptions(1) })]
])('a frame %s is refused with %s, counted, and changes nothing', async (_, code, make) => {
  const { camera, watcher, app, count } = await start(CAM, { limits: { frameBytes: 100_000 } })
  const { camera: name, bytes, options } = await make()
  expect(bytes.length).toBeLessThan(400_000)
  expect(await send(camera, name, bytes, options)).toBe(code)
  expect(await count(code)).toBe(1)
  expect(await app.ledger.read(({ kysely }) => kysely.selectFrom('sensors').selectAll().execute())).toEqual([])
  // It still works.
  expect(await send(camera, 'cam-1', await picture(['free', 'free']), frameOptions(1))).toBeNull()
  await watcher.last('lots/ROOF/free', '2')
})

test('a frame of a lot without these bays is refused with what the lot says', async () => {
  const { camera, count } = await start({ ...CAM, bays: ['R-1', 'R-9'] })
  expect(await send(camera, 'cam-1', await picture(['free', 'free']), frameOptions(1))).toBe('unknown_bay')
  expect(await count('unknown_bay')).toBe(1)
})

test('a classifier that fails costs its frame and nothing else', async () => {
  const { camera, watcher, count } = await start()
  expect(await send(camera, 'cam-1', await picture(['broken', 'free']), frameOptions(1))).toBe('internal')
  expect(await count('internal')).toBe(1)
  expect(await send(camera, 'cam-1', await picture(['free', 'free']), frameOptions(2))).toBeNull()
  await watcher.last('lots/ROOF/free', '2')
})

test('a frame that ends the process which looks at it costs itself and nothing else', async () => {
  const { camera, watcher, count } = await start()
  const deadly = await picture(['deadly', 'free'])
  for (const seq of [1, 3]) {
    expect(await send(camera, 'cam-1', deadly, frameOptions(seq))).toBe('internal')
    expect(await send(camera, 'cam-1', await picture(['taken', 'free']), frameOptions(seq + 1))).toBeNull()
    await watcher.until('the next frame', ({ topic, text }) => topic === 'lots/ROOF/sensor' && json(text).seq === seq + 1)
  }
  expect(await count('applied')).toBe(2)
})

test('frames on one connection that are larger than what a connection may have in work: the newest wins, the others are counted', async () => {
  const { camera, watcher, count } = await start({ ...CAM, lookMs: 300 })
  const large = await largePicture(['taken', 'taken'], 300_000)
  const newest = await largePicture(['free', 'taken'], 300_000)
  const acknowledged: number[] = []
  await Promise.all([1, 2, 3, 4, 5, 6].map(async seq => {
    await send(camera, 'cam-1', seq === 6 ? newest : large, frameOptions(seq))
    acknowledged.push(seq)
  }))
  expect(acknowledged).toEqual([1, 2, 3, 4, 5, 6])
  await watcher.last('lots/ROOF/free', '1')
  const said = watcher.received.filter(({ topic }) => topic === 'lots/ROOF/sensor').map(({ text }) => json(text).seq)
  expect(said).toEqual([1, 6])
  expect([await count('applied'), await count('dropped')]).toEqual([2, 4])
})

test('a frame in work delays neither sensors nor requests', async () => {
  const { camera, watcher } = await start({ ...CAM, lookMs: 1_500 }, { lots: [TWO_BAYS, { lot: 'LOT-A', capacity: 100 }] })
  const looked = send(camera, 'cam-1', await picture(['free', 'free']), frameOptions(1)).then(() => 'frame')
  const others = (async () => {
    for (let seq = 1; seq <= 50; seq++) await watcher.publish('lots/LOT-A/sensor', { sensor: 'gate', epoch: 1, seq, delta: 1 })
    await watcher.request('reserve', { lot: 'LOT-A', plate: 'ABC' })
    return 'others'
  })()
  expect(await Promise.race([looked, others])).toBe('others')
  await looked
})

test('a parkmq that stops in the middle of a frame leaves it unacknowledged', async () => {
  const { camera, app } = await start({ ...CAM, lookMs: 3_000 })
  const sent = send(camera, 'cam-1', await picture(['free', 'free']), frameOptions(1)).catch(() => 'lost')
  await new Promise(resolve => setTimeout(resolve, 200))
  const beganMs = performance.now()
  await app.stop()
  expect(await sent).toBe('lost')
  expect(performance.now() - beganMs).toBeLessThan(2_500)
})
