// `simulate cameras`: cameras for a running parkmq, drawn from a seed or replayed from a folder of real frames.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import type { MqttClient } from 'mqtt'
import { SimulatedCamera } from '../services/camera-sim/camera.js'
import type { FrameSource } from '../services/camera-sim/frames.js'
import { findFrames, RecordedFrames } from '../services/camera-sim/recorded.js'
import { runCameras, type CameraRun } from '../services/camera-sim/service.js'
import { SyntheticFrames } from '../services/camera-sim/synthetic.js'
import { verifyBays, type Verified } from '../services/camera-sim/verify.js'
import { OperatorError } from '../shared/errors.js'
import type { Id } from '../shared/lot.js'
import { endMqtt } from '../shared/mqtt-client.js'
import { createRequester } from '../shared/requester.js'
import { clientCommand, connectClient, loginOf } from './client.js'
import { EXIT } from './exit.js'
import { CAMERA_DEFAULTS, readCameraSettings, type CameraSettings, type SimulateCamerasOptions } from './simulate-cameras-options.js'
import { showLine } from './simulate-output.js'

const EXAMPLES = `
Each camera has a car park of its own with --bays places, drawn from --seed: bay lines, cars that come and go, shadows, noise, weather. With --frames,
each replays the pictures of a folder in the order of their names instead, as PKLot has them, with XML or JSON labels beside them.

Examples:
  parkmq simulate cameras --create-lots --verify --count 6          four cameras, a frame each 10 s, six of each
  parkmq simulate cameras --cameras 1 --every 1s --weather rain
  parkmq simulate cameras --cameras 2 --write frames --count 30     frames and labels for \`parkmq camera calibrate\`; needs no broker
  parkmq simulate cameras --frames pklot/seq4 --names ufpr05 --create-lots
  parkmq simulate cameras --url mqtt://a:1883,mqtt://b:1883         a camera whose broker is lost moves to the next, as everywhere

A camera is cam-1, cam-2, ... and its lot the same in capitals. With --lots, cameras share these lots, and the bays are called after the camera:
cam-1-B01. With --user, there is one camera, which is that user.

Exit codes: 0 done; 1 a frame was refused, or --verify found less than 99 % of the bays right; 2 wrong usage; 3 nobody answers.`

export function simulateCamerasCommand (): Command {
  return clientCommand('cameras', 'send what cameras would send: a frame at each interval, and their status')
    .option('--cameras <n>', `how many (default ${CAMERA_DEFAULTS.cameras})`)
    .option('--names <ids>', 'their names instead, separated by commas')
    .option('--lots <ids>', 'lots that they share in turn, separated by commas')
    .option('--every <time>', `interval of each camera's frames (default ${CAMERA_DEFAULTS.every})`)
    .option('--count <n>', 'frames of each camera (default: until Ctrl-C, or the last of --frames; with --write 20)')
    .option('--bays <n>', `bays that each camera sees (default ${CAMERA_DEFAULTS.bays})`)
    .option('--size <pixels>', `width x height of the frames (default ${CAMERA_DEFAULTS.size})`)
    .option('--weather <weather>', `clear, rain, fog or night (default ${CAMERA_DEFAULTS.weather})`)
    .option('--seed <n>', `the same seed gives the same frames (default ${CAMERA_DEFAULTS.seed})`)
    .option('--frames <folder>', 'replay these pictures instead of drawing some')
    .option('--epoch <n>', 'the cameras\' boot number (default: the time now, in milliseconds)')
    .option('--create-lots', 'make the lots that are not there, with the bays that the cameras see')
    .option('--verify', 'at the end, compare what the broker says of each bay with the truth')
    .option('--write <folder>', 'send nothing: write the frames there, and a label beside each')
    .option('--quiet', 'no progress on stderr')
    .addHelpText('after', EXAMPLES)
    .action(simulateCameras)
}

async function simulateCameras (options: SimulateCamerasOptions): Promise<void> {
  const settings = readCameraSettings(options, Date.now())
  const files = settings.frames === null ? null : await findFrames(settings.frames)
  const sourceOf = (camera: Id): FrameSource => files === null
    ? new SyntheticFrames({ seed: settings.seed, camera, bays: baysOf(camera, settings), weather: settings.weather, width: settings.width, height: settings.height })
    : new RecordedFrames(files)
  if (settings.write !== null) await write(settings, settings.write, sourceOf)
  else await send(options, settings, sourceOf)
}

function baysOf (camera: Id, { bays, sharesLots }: CameraSettings): Id[] {
  return Array.from({ length: bays }, (_, n) => `${sharesLots ? `${camera}-` : ''}B${String(n + 1).padStart(2, '0')}` as Id)
}

async function write (settings: CameraSettings, folder: string, sourceOf: (camera: Id) => FrameSource): Promise<void> {
  for (const { camera } of settings.cameras) {
    const source = sourceOf(camera)
    await mkdir(join(folder, camera), { recursive: true })
    for (let number = 1; number <= settings.count; number++) {
      const shot = await source.next()
      if (shot === null) break
      const stem = join(folder, camera, `${camera}-${String(number).padStart(4, '0')}`)
      await writeFile(`${stem}.${shot.contentType === 'image/png' ? 'png' : 'jpg'}`, shot.bytes)
      if (shot.label !== null) await writeFile(`${stem}.json`, `${JSON.stringify(shot.label)}\n`)
    }
  }
  process.stdout.write(`wrote ${settings.count} frames of ${settings.cameras.length} cameras to ${folder}\n`)
}

async function send (options: SimulateCamerasOptions, settings: CameraSettings, sourceOf: (camera: Id) => FrameSource): Promise<void> {
  const login = await loginOf(options.url, options)
  const runs: CameraRun[] = settings.cameras.map(({ camera, lot }) => ({
    camera: new SimulatedCamera({ camera, lot, epoch: settings.epoch, intervalMs: settings.everyMs, url: options.url, login }),
    source: sourceOf(camera)
  }))
  if (options.createLots) await createLots(options, settings, sourceOf)
  const stop = new AbortController()
  const onSignal = (): void => {
    if (stop.signal.aborted) process.exit(EXIT.refused)
    stop.abort()
  }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  await reachable(options)
  await Promise.all(runs.map(({ camera }) => camera.start()))
  const stopProgress = options.quiet ? () => {} : showLine(() => progressLine(runs))
  try {
    await runCameras({ runs, intervalMs: settings.everyMs, count: settings.count, signal: stop.signal })
    const verified = options.verify ? await withClient(options, async client => await verifyBays(client, runs.map(({ camera }) => camera))) : null
    stopProgress()
    report(options, runs, verified)
  } finally {
    stopProgress()
    await Promise.all(runs.map(({ camera }) => camera.stop()))
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  }
}

/** Throws when none of the brokers answers: only one that is lost later is waited for. */
async function reachable (options: SimulateCamerasOptions): Promise<void> {
  await withClient(options, async () => {})
}

async function withClient<T> (options: SimulateCamerasOptions, work: (client: MqttClient) => Promise<T>): Promise<T> {
  const client = await connectClient(options)
  try {
    return await work(client)
  } finally {
    await endMqtt(client)
  }
}

async function createLots (options: SimulateCamerasOptions, settings: CameraSettings, sourceOf: (camera: Id) => FrameSource): Promise<void> {
  const baysOfLot = new Map<Id, Id[]>()
  for (const { camera, lot } of settings.cameras) {
    const label = settings.frames === null ? null : (await sourceOf(camera).next())?.label
    if (label === null && settings.frames !== null) throw new OperatorError('bad_file', `the first frame of ${settings.frames} has no label, so its bays are not known: make the lot with \`parkmq lot add\``)
    const bays = label ? label.bays.map(({ bay }) => bay) : baysOf(camera, settings)
    baysOfLot.set(lot, [...new Set([...baysOfLot.get(lot) ?? [], ...bays])])
  }
  await withClient(options, async client => {
    const requester = await createRequester(client, { timeoutMs: Number(options.timeout) * 1_000 })
    try {
      for (const [lot, bays] of baysOfLot) {
        const reply = await requester.request('lot.add', { lot, capacity: bays.length, bays, baysCover: true })
        if (!reply.ok && reply.error.code !== 'lot_exists') throw new OperatorError(reply.error.code, `the lot ${lot} cannot be made: ${reply.error.message}`)
      }
    } finally {
      await requester.close()
    }
  })
}

function totals (runs: readonly CameraRun[]): { sent: number, acknowledged: number, replaced: number, refused: Record<string, number>, moves: number } {
  const refused: Record<string, number> = {}
  const sum = { sent: 0, acknowledged: 0, replaced: 0, moves: 0 }
  for (const { camera } of runs) {
    const counts = camera.counts()
    sum.sent += counts.sent
    sum.acknowledged += counts.acknowledged
    sum.replaced += counts.replaced
    sum.moves += Math.max(0, counts.connects - 1)
    for (const [code, count] of Object.entries(counts.refused)) refused[code] = (refused[code] ?? 0) + count
  }
  return { ...sum, refused }
}

function progressLine (runs: readonly CameraRun[]): string {
  const { sent, acknowledged, replaced, refused, moves } = totals(runs)
  return [`${runs.length} cameras`, `${sent} frames sent`, `${acknowledged} acknowledged`, ...replaced > 0 ? [`${replaced} replaced by newer ones`] : [],
    ...Object.entries(refused).map(([code, count]) => `${count} refused: ${code}`), ...moves > 0 ? [`${moves} reconnects`] : []].join('  ')
}

function report (options: SimulateCamerasOptions, runs: readonly CameraRun[], verified: readonly Verified[] | null): void {
  const sum = totals(runs)
  const bays = verified?.reduce((total, one) => total + one.bays, 0) ?? 0
  const right = verified?.reduce((total, one) => total + one.right, 0) ?? 0
  const isRight = verified === null || (bays > 0 && right >= bays * LEAST_RIGHT)
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ ...sum, ...verified && { verified } })}\n`)
  } else {
    process.stdout.write(`${progressLine(runs)}\n`)
    for (const one of verified ?? []) process.stdout.write(`${one.camera} in ${one.lot}: ${one.right} of ${one.bays} bays right, ${one.unknown} unknown${one.wrong.length > 0 ? `; ${one.wrong.slice(0, 5).join('; ')}${one.wrong.length > 5 ? '; ...' : ''}` : ''}\n`)
    if (verified !== null) process.stdout.write(bays === 0 ? 'not verified: the truth of no acknowledged frame is known\n' : `${right} of ${bays} bays are what they should be (${(100 * right / bays).toFixed(1)} %)\n`)
  }
  if (Object.keys(sum.refused).length > 0 || !isRight) process.exitCode = EXIT.refused
}

const LEAST_RIGHT = 0.99
