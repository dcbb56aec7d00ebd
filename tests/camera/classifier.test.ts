import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { configOf } from '../../services/camera/calibration.js'
import { cameraConfigText, loadClassifier, parseCameraConfig, readCameraConfig, type TreesConfig } from '../../services/camera/camera-config.js'
import type { Frame } from '../../services/camera/frame.js'
import { collectSightings } from '../../services/camera/sightings.js'
import { trainModel } from '../../services/camera/training.js'
import type { LabelledFrame } from '../../services/camera/labelled-frames.js'
import { MAX_LABEL_BYTES } from '../../services/camera/labels.js'
import type { Id } from '../../shared/lot.js'
import { BAYS, drawLot, SIZE } from './small-lot.js'

const naming = { camera: 'cam-1' as Id, lot: 'LOT-A' as Id, minConfidence: 0.7 }
const bays = BAYS.map(({ bay, polygon }) => ({ bay: bay as Id, polygon: polygon.map(([x, y]) => ({ x, y })) }))
const place = { ...SIZE, bays }

function labelled (seed: number, taken: readonly number[]): LabelledFrame {
  return { name: `f${seed}`, sequence: `s${seed % 3}`, read: async () => ({ frame: drawLot(seed, taken, 1 - seed % 3 * 0.2), bays: bays.map((bay, i) => ({ ...bay, taken: taken.includes(i) })) }) }
}
const frames = [[0, 3, 7], [1, 4, 8], [2, 5, 9], [0, 6, 8], [1, 7], [2, 3, 4], [5, 6, 9], [0, 9], [4, 8, 3]].map((taken, seed) => labelled(seed, taken))

async function calibrated (seed = 1): Promise<TreesConfig> {
  const sightings = await collectSightings(frames, seed, () => {})
  return configOf(place, trainModel(sightings, seed), sightings, naming)
}

let config: TreesConfig
beforeAll(async () => { config = await calibrated() }, 120_000)

function folder (): string {
  const path = mkdtempSync(join(tmpdir(), 'parkmq-camera-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

describe('a calibrated camera', () => {
  test.each([[100, [1, 2, 8], 1], [101, [], 0.9], [102, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0.7], [103, [4], 0.5]])('sees the cars of frame %i, which it was not trained on', async (seed, taken, light) => {
    const judgements = (await loadClassifier(config)).classify(drawLot(seed, taken, light))
    expect(judgements.map(({ bay }) => bay)).toEqual(BAYS.map(({ bay }) => bay))
    expect(judgements.flatMap((judgement, i) => judgement.taken ? [i] : [])).toEqual(taken)
    for (const { confidence } of judgements) expect(confidence).toBeGreaterThanOrEqual(0.5)
    for (const { confidence } of judgements) expect(confidence).toBeLessThanOrEqual(1)
  })

  test('sees them in bays whose empty look it does not know, with what it learned of all bays', async () => {
    const bare = await loadClassifier({ ...config, bays })
    expect(bare.classify(drawLot(104, [0, 6])).flatMap(({ taken }, i) => taken ? [i] : [])).toEqual([0, 6])
  })

  test('the same frames and seed give the same file, another seed another', async () => {
    expect(cameraConfigText(await calibrated())).toBe(cameraConfigText(config))
    expect(cameraConfigText(await calibrated(2))).not.toBe(cameraConfigText(config))
  }, 240_000)

  test('takes a frame of another size and the same shape, and refuses another shape', async () => {
    const classifier = await loadClassifier(config)
    const twice = (frame: Frame): Frame => {
      const [width, height] = [frame.width * 2, frame.height * 2]
      return { width, height, pixels: Uint8Array.from({ length: width * height * 3 }, (_, i) => frame.pixels[(Math.floor(i / 3 / width / 2) * frame.width + Math.floor(Math.floor(i / 3) % width / 2)) * 3 + i % 3] as number) }
    }
    expect(classifier.classify(twice(drawLot(105, [2, 7]))).flatMap(({ taken }, i) => taken ? [i] : [])).toEqual([2, 7])
    expect(() => classifier.classify({ width: 320, height: 200, pixels: new Uint8Array(320 * 200 * 3) })).toThrow(expect.objectContaining({
      code: 'wrong_size', message: 'camera cam-1 sent 320 x 200 pixels, and its bays are drawn on 320 x 180, another shape; send that shape, or calibrate the camera again'
    }) as Error)
  })

  test('a frame that is black, white or noise alone gives judgements', async () => {
    const classifier = await loadClassifier(config)
    for (const fill of [() => 0, () => 255, (i: number) => (i * 2_654_435_761) >>> 24]) {
      const judgements = classifier.classify({ ...SIZE, pixels: Uint8Array.from({ length: SIZE.width * SIZE.height * 3 }, (_, i) => fill(i)) })
      expect(judgements).toHaveLength(10)
      for (const { confidence } of judgements) expect(confidence >= 0.5 && confidence <= 1).toBe(true)
    }
  })
})

describe('training', () => {
  test.each([['taken', (i: number) => i >= 0], ['empty', () => false]] as const)('refuses frames that are all %s', async (kind, isTaken) => {
    const sightings = await collectSightings([labelled(1, bays.map((_, i) => i).filter(isTaken))], 1, () => {})
    expect(() => trainModel(sightings, 1)).toThrow(expect.objectContaining({ code: 'bad_labels', message: expect.stringContaining(`are ${kind}`) as string }) as Error)
  })
})

describe('the file', () => {
  test('written and read gives the same configuration and judgements', async () => {
    const path = join(folder(), 'cam-1.json')
    writeFileSync(path, cameraConfigText(config))
    const read = await readCameraConfig(path)
    expect(read).toEqual(config)
    const frame = drawLot(106, [3, 5])
    expect((await loadClassifier(read)).classify(frame)).toEqual((await loadClassifier(config)).classify(frame))
  })

  test.each<[string, (value: Record<string, never> & { bays: Record<string, unknown>[], model: { appearance: Record<string, unknown[]> } }) => object, RegExp]>([
    ['another version', value => ({ ...value, version: 2 }), /version/],
    ['an unknown setting', value => ({ ...value, lots: 'x' }), /lots/],
    ['a camera that is no id', value => ({ ...value, camera: 'a/b' }), /camera: must match/],
    ['a confidence below a guess', value => ({ ...value, minConfidence: 0.4 }), /minConfidence/],
    ['no bays', value => ({ ...value, bays: [] }), /bays/],
    ['a bay twice', value => ({ ...value, bays: [value.bays[0], value.bays[0]] }), /bay A-1 is there twice/],
    ['a bay without extent', value => ({ ...value, bays: [{ ...value.bays[0], polygon: [[1, 1], [2, 1], [2, 2]] }] }), /covers less than/],
    ['a bay outside of the frame', value => ({ ...value, bays: [{ ...value.bays[0], polygon: [[500, 1], [600, 1], [600, 90]] }] }), /outside of the 320 x 180 frame/],
    ['a reference that is too short', value => ({ ...value, bays: [{ ...value.bays[0], model: { reference: 'AAAA' } }] }), /reference/],
    ['a model of other features', value => ({ ...value, model: { ...value.model, appearance: { ...value.model.appearance, features: ['x'] } } }), /calibrate the camera again/],
    ['a tree that asks for what is not there', value => ({ ...value, model: { ...value.model, appearance: { ...value.model.appearance, trees: [{ features: Array(7).fill(5_000), thresholds: Array(7).fill(0), leaves: Array(8).fill(0) }] } } }), /trees\.0\.features/],
    ['a classifier that is none', value => ({ ...value, classifier: 'magic' }), /must be "trees", or the path of an ES module/]
  ])('with %s is refused with its name and the place', (_, change, message) => {
    const value = change(JSON.parse(cameraConfigText(config)) as never)
    expect(() => parseCameraConfig(value, 'cam-1.json')).toThrow(expect.objectContaining({ code: 'bad_config', message: expect.stringMatching(message) as string }) as Error)
  })

  test('that is not there, no JSON or larger than any is says how to get one', async () => {
    const path = join(folder(), 'cam-1.json')
    await expect(readCameraConfig(path)).rejects.toMatchObject({ code: 'bad_config', message: expect.stringContaining('parkmq camera calibrate') as string })
    writeFileSync(path, '{')
    await expect(readCameraConfig(path)).rejects.toMatchObject({ code: 'bad_config' })
    writeFileSync(path, ' '.repeat(2 * MAX_LABEL_BYTES + 1))
    await expect(readCameraConfig(path)).rejects.toMatchObject({ message: expect.stringContaining('more than') as string })
  })
})

describe('a classifier of one\'s own', () => {
  async function load (code: string, name = 'own.mjs'): Promise<Awaited<ReturnType<typeof loadClassifier>>> {
    const here = folder()
    writeFileSync(join(here, name), code)
    writeFileSync(join(here, 'cam-1.json'), JSON.stringify({ version: 1, camera: 'cam-1', lot: 'LOT-A', ...SIZE, classifier: `./${name}`, model: { threshold: 3 }, bays: BAYS }))
    return await loadClassifier(await readCameraConfig(join(here, 'cam-1.json')))
  }

  test('is found beside the configuration, and gets all of it', async () => {
    const classifier = await load('export default config => ({ classify: frame => config.bays.map(({ bay, polygon }) => ({ bay, taken: polygon[0].x > config.model.threshold && frame.width === 320, confidence: 0.75 })) })')
    expect(classifier.classify(drawLot(1, []))).toEqual(BAYS.map(({ bay }) => ({ bay, taken: true, confidence: 0.75 })))
  })

  test.each([
    ['a file that is none', 'export default (', /cannot use the classifier/],
    ['no default export', 'export const a = 1', /default export is no function/],
    ['a default export that gives nothing', 'export default () => null', /no object with classify/],
    ['one that throws', 'export default () => { throw new Error("no weights") }', /no weights/]
  ])('%s is refused at the start', async (_, code, message) => {
    await expect(load(code)).rejects.toMatchObject({ code: 'bad_config', message: expect.stringMatching(message) as string })
  })

  test.each([
    ['too few', 'config.bays.slice(1).map(({ bay }) => ({ bay, taken: true, confidence: 1 }))'],
    ['another order', '[...config.bays].reverse().map(({ bay }) => ({ bay, taken: true, confidence: 1 }))'],
    ['a confidence of 2', 'config.bays.map(({ bay }) => ({ bay, taken: true, confidence: 2 }))'],
    ['no list', 'undefined']
  ])('is held to its contract: %s', async (_, result) => {
    const classifier = await load(`export default config => ({ classify: () => ${result} })`)
    expect(() => classifier.classify(drawLot(1, []))).toThrow(/for each of the 10 bays, in order/)
  })
})
