// Cameras for tests: pictures of coloured squares, configurations for the classifier that knows them, and a client that
// publishes frames.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import type { IClientPublishOptions } from 'mqtt'
import { onTestFinished } from 'vitest'
import { testFolder, type TestClient } from '../support/app.js'
import { PROGRAM } from '../support/process.js'

/** The compiled program that looks at frames (`npm run build`): tests run from the sources. */
export const WORKER = new URL('../../dist/services/camera/worker.js', import.meta.url)

const COLOURS = { taken: '#e01010', free: '#10e010', unsure: '#808080', broken: '#1010e0', deadly: '#e010e0' } as const
export type Square = keyof typeof COLOURS
const SIDE = 32

/** A picture with one square for each bay, from left to right. */
export async function picture (squares: readonly Square[], format: 'jpeg' | 'png' = 'png'): Promise<Buffer> {
  const [width, height] = [SIDE * squares.length, SIDE]
  const svg = squares.map((square, i) => `<rect x="${i * SIDE}" width="${SIDE}" height="${SIDE}" fill="${COLOURS[square]}"/>`).join('')
  return await sharp(Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${svg}</svg>`)).removeAlpha()[format]().toBuffer()
}

/** The same with so much noise that it has about as many bytes as a real frame. */
export async function largePicture (squares: readonly Square[], bytes: number): Promise<Buffer> {
  const small = await picture(squares)
  // Behind the end of a PNG comes nothing that a decoder looks at; what it looks at must be whole.
  const chunk = Buffer.alloc(12 + bytes)
  chunk.writeUInt32BE(bytes, 0)
  chunk.write('teSt', 4, 'latin1')
  randomBytes(bytes).copy(chunk, 8)
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + bytes)), 8 + bytes)
  const end = small.length - 12
  return Buffer.concat([small.subarray(0, end), chunk, small.subarray(end)])
}

function crc32 (bytes: Buffer): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  }
  return (crc ^ 0xffffffff) >>> 0
}

export interface TestCamera {
  readonly camera: string
  readonly lot: string
  readonly bays: readonly string[]
  /** How long each frame is looked at. */
  readonly lookMs?: number
  readonly intervalSeconds?: number
  readonly keepSeconds?: number
}

/** A folder with the configurations of these cameras. */
export function camerasFolder (...cameras: readonly TestCamera[]): string {
  const folder = testFolder()
  for (const { camera, lot, bays, lookMs = 0, intervalSeconds = 10, keepSeconds = 30 } of cameras) {
    writeFileSync(join(folder, `${camera}.json`), JSON.stringify({
      version: 1, camera, lot, width: SIDE * bays.length, height: SIDE, minConfidence: 0.7, intervalSeconds, keepSeconds,
      classifier: fileURLToPath(new URL('./colour-classifier.mjs', import.meta.url)), model: { lookMs },
      bays: bays.map((bay, i) => ({ bay, polygon: [{ x: i * SIDE, y: 0 }, { x: (i + 1) * SIDE, y: 0 }, { x: (i + 1) * SIDE, y: SIDE }, { x: i * SIDE, y: SIDE }] }))
    }))
  }
  return folder
}

export const TWO_BAYS = { lot: 'ROOF', capacity: 2, bays: ['R-1', 'R-2'], baysCover: true } as const
export const CAM: TestCamera = { camera: 'cam-1', lot: 'ROOF', bays: ['R-1', 'R-2'] }

export function frameOptions (seq: number, { lot = 'ROOF', epoch = 1, contentType = 'image/png', ...others }: { lot?: string, epoch?: number, contentType?: string, qos?: 0 | 1 | 2 } = {}): IClientPublishOptions {
  return { qos: 1, ...others, properties: { contentType, userProperties: { lot, epoch: String(epoch), seq: String(seq), capturedAt: '2026-12-01T08:00:00Z' } } }
}

/** Publishes a frame. Resolves with the code of the refusal, or null, at its PUBACK. */
export async function send (client: TestClient, camera: string, bytes: Buffer, options: IClientPublishOptions): Promise<string | null> {
  return await new Promise((resolve, reject) => {
    client.mqtt.publish(`cameras/${camera}/frame`, bytes, options, (error, packet) => {
      const words = (packet as { properties?: { reasonString?: string } } | undefined)?.properties?.reasonString
      if (!error) resolve(null)
      else if (words === undefined) reject(error)
      else resolve(words.split(':')[0] ?? words)
    })
  })
}

export interface CameraProcess {
  /** kill -9; resolves when it is dead. */
  kill (): Promise<void>
  /** SIGTERM; resolves with its last log line. */
  stop (): Promise<Record<string, unknown>>
}

/** `parkmq camera process` as a process of its own; resolves when it is ready. */
export async function startCameraProcess (url: string, cameras: string, node: string): Promise<CameraProcess> {
  const child = spawn(process.execPath, [PROGRAM, 'camera', 'process', '--url', url, '--cameras', cameras, '--node', node], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'exit')
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended
  })
  let [errors, last] = ['', {} as Record<string, unknown>]
  child.stderr.on('data', (text: Buffer) => { errors += text.toString() })
  const lines = createInterface({ input: child.stdout })
  await new Promise<void>((resolve, reject) => {
    child.once('exit', code => reject(new Error(`parkmq camera process ended with ${code}: ${errors}`)))
    lines.on('line', line => {
      last = JSON.parse(line) as Record<string, unknown>
      if (last.msg === 'ready') resolve()
    })
  })
  return {
    async kill () {
      child.kill('SIGKILL')
      await ended
    },
    async stop () {
      const closed = once(lines, 'close')
      child.kill('SIGTERM')
      await Promise.all([ended, closed])
      return last
    }
  }
}
