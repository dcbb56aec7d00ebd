import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { cameraCommand } from '../../cli/camera.js'
import type { Figures } from '../../services/camera/evaluation.js'
import { BAYS, lotFolder, SEQUENCES, SIZE } from './small-lot.js'

afterEach(() => { vi.restoreAllMocks() })

/** Runs `parkmq camera ...` as the program does, in this process. */
async function camera (...args: string[]): Promise<{ out: string, err: string }> {
  const printed = { out: '', err: '' }
  vi.spyOn(process.stdout, 'write').mockImplementation(text => { printed.out += String(text); return true })
  vi.spyOn(process.stderr, 'write').mockImplementation(text => { printed.err += String(text); return true })
  const command = cameraCommand().exitOverride()
  for (const child of command.commands) child.exitOverride()
  try {
    await command.parseAsync(args, { from: 'user' })
  } finally {
    vi.restoreAllMocks()
  }
  return printed
}

interface EvaluationJson { readonly sequences: Record<string, Figures>, readonly all: Figures, readonly frames: { frame: string, taken: number, judgedTaken: number }[] }

async function evaluate (...args: string[]): Promise<EvaluationJson> {
  return JSON.parse((await camera('evaluate', '--json', ...args)).out) as EvaluationJson
}

describe('calibrate and evaluate on a small lot', () => {
  test('all the way: a configuration, figures, pictures, another camera', { timeout: 240_000 }, async () => {
    const folder = await lotFolder()
    const out = join(folder, 'out', 'cam-1.json')
    const { out: said } = await camera('calibrate', '--frames', folder, '--camera', 'cam-1', '--lot', 'LOT-A', '--out', out)
    expect(said).toContain('camera cam-1 of LOT-A, 10 bays, 10 of them seen empty')
    expect(said).toContain('learned from 120 labelled bays in 12 frames')

    const pictures = join(folder, 'pictures')
    const shown = await camera('evaluate', '--config', out, '--frames', folder, '--overlay', pictures)
    expect(shown.out).toMatch(/^all +12 +120 +100\.0 % +100\.0 % +100\.0 % +100\.0 % +0\.00 +0 /m)
    for (const sequence of SEQUENCES) {
      const path = join(pictures, sequence, 'frame-0.jpg')
      expect(await sharp(path).metadata()).toMatchObject({ format: 'jpeg', ...SIZE })
      // It is not the frame as it came.
      expect((await sharp(path).raw().toBuffer()).equals(await sharp(join(folder, sequence, 'frame-0.jpg')).raw().toBuffer())).toBe(false)
    }

    rmSync(pictures, { recursive: true })
    const left = await evaluate('--leave-one-out', '--frames', folder)
    expect(Object.keys(left.sequences)).toEqual(SEQUENCES.map(String).sort())
    expect(left.all).toMatchObject({ frames: 12, bays: 120, accuracy: 1, meanCountError: 0 })

    // Another camera, of which only the bays are known: here one that sees them from a little further to the right.
    const bays = join(folder, 'bays.json')
    writeFileSync(bays, JSON.stringify({ ...SIZE, bays: BAYS.slice(0, 4).map(({ bay, polygon }) => ({ bay: `B-${bay}`, polygon: polygon.map(([x, y]) => [x + 2, y]) })) }))
    const second = join(folder, 'cam-2.json')
    expect((await camera('calibrate', '--model', out, '--bays', bays, '--camera', 'cam-2', '--lot', 'LOT-A', '--out', second)).out).toContain('4 bays, 0 of them seen empty')
    expect(JSON.parse(readFileSync(second, 'utf8'))).toMatchObject({ camera: 'cam-2', bays: [{ bay: 'B-A-1' }, {}, {}, {}] })
    // Its labels show bays that it has not been told of: they are judged as well.
    expect((await evaluate('--config', second, '--frames', folder)).all.accuracy).toBeGreaterThan(0.95)
  })

  test('labels in one file, and frames without labels, which are named and left out', { timeout: 120_000 }, async () => {
    const folder = await lotFolder()
    const taken = (file: string): Record<string, boolean> => Object.fromEntries((JSON.parse(readFileSync(join(folder, file), 'utf8')) as { bays: { bay: string, taken: boolean }[] }).bays.map(({ bay, taken }) => [bay, taken]))
    const names = ['monday/frame-0', 'monday/frame-1', 'tuesday/frame-0']
    const labels = join(folder, 'labels.json')
    writeFileSync(labels, JSON.stringify({ bays: BAYS, frames: Object.fromEntries(names.map(name => [`${name}.jpg`, taken(`${name}.json`)])) }))
    const { out, err } = await camera('calibrate', '--frames', folder, '--labels', labels, '--camera', 'c', '--lot', 'L', '--out', join(folder, 'c.json'), '--json')
    expect(JSON.parse(out)).toMatchObject({ frames: 3, labelled: 30, bays: 10 })
    expect(err).toContain('monday/frame-2.jpg has no labels: left out')
  })

  test.each<[string, (folder: string) => string[], string, RegExp]>([
    ['neither frames nor a model', () => ['calibrate', '--camera', 'c', '--lot', 'L', '--out', 'x'], 'usage', /--frames.*--model/],
    ['a camera that is no id', folder => ['calibrate', '--frames', folder, '--camera', 'a b', '--lot', 'L', '--out', 'x'], 'usage', /--camera "a b"/],
    ['a confidence that is none', folder => ['calibrate', '--frames', folder, '--camera', 'c', '--lot', 'L', '--out', 'x', '--min-confidence', '0.2'], 'usage', /--min-confidence 0\.2/],
    ['a folder that is not there', folder => ['evaluate', '--leave-one-out', '--frames', join(folder, 'nowhere')], 'bad_file', /cannot read the folder .*nowhere/],
    ['a folder without labels', folder => ['evaluate', '--leave-one-out', '--frames', folder, '--labels', join(folder, 'nowhere')], 'bad_file', /none of the 12 frames .*frame-0\.xml/],
    ['one sequence', folder => ['evaluate', '--leave-one-out', '--frames', join(folder, 'monday')], 'bad_labels', /sub-folder of its own/],
    ['both a configuration and none', folder => ['evaluate', '--leave-one-out', '--config', 'x', '--frames', folder], 'usage', /either --config/],
    ['neither', folder => ['evaluate', '--frames', folder], 'usage', /either --config/],
    ['a configuration that is not there', folder => ['evaluate', '--config', join(folder, 'x.json'), '--frames', folder], 'bad_config', /x\.json/]
  ])('%s is refused with the value and the fix', async (_, args, code, message) => {
    await expect(camera(...args(await lotFolder()))).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string })
  })

  test('a frame that is truncated, or bays outside of it, end the run and are named', async () => {
    const folder = await lotFolder()
    const path = join(folder, 'monday', 'frame-1.jpg')
    const whole = readFileSync(path)
    writeFileSync(path, whole.subarray(0, whole.length >> 1))
    await expect(camera('evaluate', '--leave-one-out', '--frames', folder)).rejects.toMatchObject({ code: 'bad_file', message: expect.stringMatching(/frame-1\.jpg.*bad_image/) as string })
    writeFileSync(path, whole)
    writeFileSync(join(folder, 'monday', 'frame-1.json'), JSON.stringify({ bays: [{ bay: 'A', polygon: [[900, 900], [990, 900], [990, 990]], taken: true }] }))
    await expect(camera('evaluate', '--leave-one-out', '--frames', folder)).rejects.toMatchObject({ code: 'bad_file', message: expect.stringMatching(/frame-1\.jpg.*bay A .*outside/) as string })
  })
})

// Real data that is not part of this repository.
const PKLOT = fileURLToPath(new URL('../../../shared/data/pklot-ufpr05', import.meta.url))

describe.skipIf(!existsSync(PKLOT))('a real camera, each day judged by what the others taught (skipped where ../shared/data/pklot-ufpr05 is absent)', () => {
  test('93 % of all bays, 90 % balanced on each day with cars, the count off by at most 2 of 40', { timeout: 400_000 }, async () => {
    const { sequences, all, frames } = await evaluate('--leave-one-out', '--frames', PKLOT)
    expect(frames).toHaveLength(15)
    expect(all.bays).toBe(600)
    expect(all.accuracy).toBeGreaterThanOrEqual(0.93)
    expect(sequences.seq1?.balancedAccuracy).toBeGreaterThanOrEqual(0.9)
    expect(sequences.seq4?.balancedAccuracy).toBeGreaterThanOrEqual(0.9)
    expect(all.meanCountError).toBeLessThanOrEqual(2)
    for (const { meanCountError } of Object.values(sequences)) expect(meanCountError).toBeLessThanOrEqual(2)
  })
})
