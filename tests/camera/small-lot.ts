// A small car park drawn pixel by pixel: asphalt with lines and grain, cars with roofs and windows. Enough to tell a
// classifier that works from one that does not.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import sharp from 'sharp'
import { onTestFinished } from 'vitest'
import type { Frame } from '../../services/camera/frame.js'
import { createRandom } from '../../services/camera/random.js'

export const SIZE = { width: 320, height: 180 }
export const BAYS = Array.from({ length: 10 }, (_, i) => {
  const [left, top] = [10 + i % 5 * 60, 20 + Math.floor(i / 5) * 85]
  return { bay: `A-${i + 1}`, polygon: [[left, top], [left + 50, top], [left + 45, top + 60], [left - 5, top + 60]] as [number, number][] }
})

/** A frame in which the bays at `taken` have cars. */
export function drawLot (seed: number, taken: readonly number[], light = 1): Frame {
  const random = createRandom(seed)
  const { width, height } = SIZE
  const pixels = new Uint8Array(width * height * 3)
  const put = (x: number, y: number, colour: readonly number[]): void => colour.forEach((value, channel) => {
    if (x >= 0 && y >= 0 && x < width && y < height) pixels[(Math.round(y) * width + Math.round(x)) * 3 + channel] = Math.max(0, Math.min(255, value * light + random.normal() * 3))
  })
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) put(x, y, [95, 96, 98])
  for (const [i, { polygon: [[left, top] = [0, 0]] }] of BAYS.entries()) {
    for (let y = top; y < top + 60; y++) put(left - (y - top) / 12, y, [210, 210, 205])
    if (!taken.includes(i)) continue
    const paint = [random.between(20, 240), random.between(20, 240), random.between(20, 240)]
    for (let y = 0; y < 46; y++) {
      for (let x = 0; x < 34; x++) {
        const isWindow = (y > 10 && y < 17) || (y > 32 && y < 38)
        put(left + 7 + x - y / 12, top + 5 + y, isWindow && x > 3 && x < 30 ? [25, 28, 34] : y < 2 || y > 43 ? [15, 15, 15] : paint.map(value => value * (x < 5 ? 0.8 : 1)))
      }
    }
  }
  return { ...SIZE, pixels }
}

export async function jpegOf ({ width, height, pixels }: Frame): Promise<Buffer> {
  return await sharp(pixels, { raw: { width, height, channels: 3 } }).jpeg({ quality: 92 }).toBuffer()
}

export const SEQUENCES = ['monday', 'tuesday', 'wednesday'] as const

/** A folder with three sequences of four frames, their labels beside them; removed after the test. */
export async function lotFolder (): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'parkmq-camera-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  let seed = 0
  for (const [day, sequence] of SEQUENCES.entries()) {
    for (let n = 0; n < 4; n++) {
      const taken = BAYS.map((_, i) => i).filter(i => (i * 7 + n * 3 + day) % 5 < 2)
      const name = join(folder, sequence, `frame-${n}`)
      mkdirSync(dirname(name), { recursive: true })
      writeFileSync(`${name}.jpg`, await jpegOf(drawLot(++seed, taken, 1 - day * 0.2)))
      writeFileSync(`${name}.json`, JSON.stringify({ bays: BAYS.map((bay, i) => ({ ...bay, taken: taken.includes(i) })) }))
    }
  }
  return folder
}
