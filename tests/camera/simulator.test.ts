// Simulated cameras: the same frames for the same seed, with the truth; and how they move from broker to broker.
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { expect, onTestFinished, test } from 'vitest'
import { SimulatedCamera } from '../../services/camera-sim/camera.js'
import type { Shot } from '../../services/camera-sim/frames.js'
import { findFrames, RecordedFrames } from '../../services/camera-sim/recorded.js'
import { WEATHERS } from '../../services/camera-sim/render.js'
import { SyntheticFrames } from '../../services/camera-sim/synthetic.js'
import { verifyBays } from '../../services/camera-sim/verify.js'
import type { Id } from '../../shared/lot.js'
import { json, memoryFolder, startTestApp } from '../support/app.js'
import { CAM, camerasFolder, picture, TWO_BAYS, WORKER } from './support.js'

const ids = (count: number): Id[] => Array.from({ length: count }, (_, n) => `B${n + 1}` as Id)
const PKLOT = fileURLToPath(new URL('../../../shared/data/pklot-ufpr05/seq4', import.meta.url))

test.each(WEATHERS)('the same seed gives the same pictures in %s weather, and another seed others', async weather => {
  const of = async (seed: number): Promise<Shot[]> => {
    const source = new SyntheticFrames({ seed, camera: 'cam-1', bays: ids(12), weather, width: 320, height: 180 })
    return [await source.next(), await source.next()]
  }
  const [a, b, other] = [await of(1), await of(1), await of(2)]
  expect(a).toEqual(b)
  expect(a[0]).not.toEqual(other[0])
  expect(await sharp(a[1]?.bytes).metadata()).toMatchObject({ format: 'jpeg', width: 320, height: 180 })
})

test('every bay is in the picture, and cars come and go', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const source = new SyntheticFrames({ seed, camera: 'cam-1', bays: ids(40), weather: 'clear', width: 1280, height: 720 })
    for (const { polygon } of source.scene.bays) {
      expect(polygon).toHaveLength(4)
      for (const { x, y } of polygon) expect(x >= 0 && x < 1280 && y >= 0 && y < 720).toBe(true)
    }
  }
  const source = new SyntheticFrames({ seed: 3, camera: 'cam-1', bays: ids(40), weather: 'clear', width: 160, height: 96 })
  const counts: number[] = []
  for (let i = 0; i < 20; i++) counts.push((await source.next()).label?.bays.filter(({ occupied }) => occupied).length ?? 0)
  expect(new Set(counts).size).toBeGreaterThan(3)
  expect(Math.min(...counts)).toBeGreaterThan(0)
  expect(Math.max(...counts)).toBeLessThan(40)
})

test.skipIf(!existsSync(PKLOT))('real frames are replayed in the order of their times, with the truth of their labels', async () => {
  const files = await findFrames(PKLOT)
  expect(files).toEqual(readdirSync(PKLOT).filter(name => name.endsWith('.jpg')).sort().map(name => join(PKLOT, name)))
  const source = new RecordedFrames(files)
  const taken: number[] = []
  for (let shot = await source.next(); shot !== null; shot = await source.next()) taken.push(shot.label?.bays.filter(({ occupied }) => occupied).length ?? -1)
  expect(taken).toEqual([8, 15, 24, 39, 40])
})

test('a folder without frames is told', async () => {
  const empty = mkdtempSync(join(tmpdir(), 'parkmq-test-'))
  onTestFinished(() => rmSync(empty, { recursive: true }))
  await expect(findFrames(empty)).rejects.toMatchObject({ code: 'bad_file' })
})

const shot = async (squares: readonly ('taken' | 'free')[]): Promise<Shot> => ({
  bytes: await picture(squares), contentType: 'image/png',
  label: { width: 64, height: 32, bays: squares.map((square, i) => ({ bay: `R-${i + 1}` as Id, polygon: [], occupied: square === 'taken' })) }
})

test('a camera whose broker is lost moves to the next of its list, with the frame that was not acknowledged; and what it says is true', async () => {
  const settings = { lots: [TWO_BAYS] }
  // The first one takes long to look at a frame: that is what the camera loses.
  const first = await startTestApp({ data: memoryFolder(), cameraWorker: WORKER, settings: { ...settings, cameras: camerasFolder({ ...CAM, lookMs: 60_000 }) } })
  const second = await startTestApp({ data: memoryFolder(), cameraWorker: WORKER, settings: { ...settings, cameras: camerasFolder(CAM) } })
  const [atFirst, watcher] = [await first.connect(), await second.connect()]
  await atFirst.subscribe('cameras/+/status')
  await watcher.subscribe('cameras/+/status', 'lots/#')
  const camera = new SimulatedCamera({ camera: 'cam-1' as Id, lot: 'ROOF' as Id, epoch: 1, intervalMs: 10_000, url: `${first.url},${second.url}`, login: {} })
  onTestFinished(() => camera.stop())
  await camera.start()
  await atFirst.last('cameras/cam-1/status', 'online')
  camera.take(await shot(['taken', 'free']), Date.now())
  await new Promise(resolve => setTimeout(resolve, 300))
  expect(camera.counts()).toMatchObject({ sent: 1, acknowledged: 0 })
  await atFirst.end()
  await first.app.stop()
  await watcher.last('cameras/cam-1/status', 'online')
  await watcher.last('lots/ROOF/bays/R-1', 'taken')
  await camera.settled(5_000)
  expect(camera.counts()).toMatchObject({ acknowledged: 1, connects: 2 })
  expect(watcher.received.filter(({ topic }) => topic === 'lots/ROOF/sensor').map(({ text }) => json(text).seq)).toEqual([1])
  expect(await verifyBays((await second.connect()).mqtt, [camera])).toEqual([{ camera: 'cam-1', lot: 'ROOF', bays: 2, right: 2, unknown: 0, wrong: [] }])
  await watcher.request('lot.set', { lot: 'ROOF', bays: ['R-1'], capacity: 1 })
  expect(await verifyBays((await second.connect()).mqtt, [camera])).toMatchObject([{ right: 1, unknown: 1 }])
  await camera.stop()
  await watcher.last('cameras/cam-1/status', 'offline')
})

test('a camera that falls silent: its bays are unknown and its lot is stale, until it is back', async () => {
  const { url, connect } = await startTestApp({ data: memoryFolder(), cameraWorker: WORKER, settings: { lots: [TWO_BAYS], cameras: camerasFolder({ ...CAM, intervalSeconds: 0.4 }) } })
  const watcher = await connect()
  await watcher.subscribe('lots/#')
  const camera = new SimulatedCamera({ camera: 'cam-1' as Id, lot: 'ROOF' as Id, epoch: 1, intervalMs: 400, url, login: {} })
  onTestFinished(() => camera.stop())
  await camera.start()
  camera.take(await shot(['taken', 'free']), Date.now())
  await watcher.last('lots/ROOF/free', '1')
  await watcher.last('lots/ROOF/bays/R-2', 'unknown')
  expect(json(await watcher.last('lots/ROOF/state', text => json(text).quality === 'stale'))).toMatchObject({ free: 0 })
  camera.take(await shot(['taken', 'free']), Date.now())
  await watcher.last('lots/ROOF/bays/R-2', 'free')
  await watcher.last('lots/ROOF/state', text => json(text).quality === 'live')
})
