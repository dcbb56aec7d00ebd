// `cameras`: how long a frame takes to become `free`, and what 20 frames a second do to sensors and reservations.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { MqttClient } from 'mqtt'
import type { Histogram } from 'hdr-histogram-js'
import { connectMqtt, endMqtt } from '../shared/mqtt-client.js'
import { median, newLatency, percentileMs, say, whole } from './figures.js'
import { GateGenerator } from './gate-generator.js'
import { percentileOf } from './latency.js'
import { grown, readMetrics } from './metrics-page.js'
import type { Options } from './options.js'
import { newFolder, ROOT, startParkmq, type Target } from './processes.js'
import { Progress } from './progress.js'
import { RequestGenerator } from './request-generator.js'
import { lotNames } from './systems.js'

const CAMERAS = 4
const BAYS = 40
/** Of all cameras together. */
const FRAMES_A_SECOND = 20
const WRITTEN = 16
const DELTAS_A_SECOND = 200
const REQUESTS_A_SECOND = 100
const LOTS = 4
const CAPACITY = 1_000_000
const GATES = 'cameras'
const CLIENTS = 8
const WARM_UP_SECONDS = 2

interface Prepared {
  readonly cameras: string
  readonly lots: string
  /** Two pictures in turn, so that `free` changes with each. */
  readonly frames: readonly Buffer[]
}

interface Measured {
  /** p95 in milliseconds. */
  readonly deltas: number
  readonly requests: number
}

export async function cameras ({ rounds = 3, seconds = 8, seed = 1 }: Options): Promise<void> {
  say(`cameras: ${CAMERAS} cameras, 1280x720 with ${BAYS} bays each, ${FRAMES_A_SECOND} frames/s in all, beside ${DELTAS_A_SECOND} deltas/s and ${REQUESTS_A_SECOND} reserve or cancel/s; ${rounds} rounds of ${seconds} s, with frames and without in turn; seed ${seed}`)
  const prepared = prepare(seed)
  const target = await startParkmq(['--config', prepared.lots, '--cameras', prepared.cameras, '--http-port', '0'])
  const ports = { port: target.port, wsPort: target.wsPort }
  const [requests, gates] = [new RequestGenerator(), new GateGenerator()]
  const feed = await startFeed(target, prepared.frames)
  const progress = new Progress('cameras', 2 * rounds + 1)
  const lots = lotNames(LOTS)
  const all: { readonly calm: Measured, readonly busy: Measured }[] = []
  try {
    await gates.make(GATES, { ports, hearing: 'free', gates: lots.map(lot => ({ lot, capacity: CAPACITY, step: 2 * CLIENTS })) })
    const measure = async (what: string, forSeconds: number): Promise<Measured> => {
      progress.next(what)
      return await gates.connected(GATES, async run => {
        const parts = { ports, answers: 'replies', clients: CLIENTS, workload: 'writes', lots, requestIds: true, seed, pace: { type: 'open', perSecond: REQUESTS_A_SECOND, seconds: forSeconds } } as const
        const [deltas, asked] = await Promise.all([run({ type: 'rate', perSecond: DELTAS_A_SECOND, seconds: forSeconds }), requests.run(parts, progress)])
        if (asked.latency.all === undefined) throw new Error('no request was answered')
        return { deltas: percentileOf(deltas.ack, 95), requests: percentileOf(asked.latency.all, 95) }
      })
    }
    await feed.during(async () => await measure('warm-up', WARM_UP_SECONDS))
    feed.reset()
    for (let round = 1; round <= rounds; round++) {
      const withFrames = async (): Promise<Measured> => await feed.during(async () => await measure('with frames', seconds))
      const withoutFrames = async (): Promise<Measured> => await measure('without frames', seconds)
      // What comes first must not always be the same.
      const busyFirst = round % 2 === 0 ? await withFrames() : null
      const calm = await withoutFrames()
      const busy = busyFirst ?? await withFrames()
      all.push({ calm, busy })
      say(`  round ${round}: p95 of deltas to PUBACK ${calm.deltas.toFixed(2)} ms without frames, ${busy.deltas.toFixed(2)} ms with; of requests ${calm.requests.toFixed(2)} ms without, ${busy.requests.toFixed(2)} ms with`)
    }
    await sayFrames(target, feed)
    for (const what of ['deltas', 'requests'] as const) {
      const ratio = median(all.map(({ calm, busy }) => busy[what] / calm[what]))
      say(`  p95 of ${what} with frames / without: ${ratio.toFixed(2)} (median of ${rounds} rounds)`)
    }
    say('  Cameras, sensors, requesters and parkmq share the processors.')
  } finally {
    await feed.stop()
    await gates.stop()
    await requests.stop()
    await target.stop()
  }
}

/** A car park drawn from the seed and calibrated; the cameras see the same, each in a lot of its own. */
function prepare (seed: number): Prepared {
  const folder = newFolder()
  const parkmq = (...args: string[]): void => { execFileSync(process.execPath, [join(ROOT, 'bin/parkmq.js'), ...args], { stdio: ['ignore', 'ignore', 'inherit'] }) }
  parkmq('simulate', 'cameras', '--cameras', '1', '--bays', String(BAYS), '--count', String(WRITTEN), '--seed', String(seed), '--write', join(folder, 'frames'))
  const frames = join(folder, 'frames', 'cam-1')
  parkmq('camera', 'calibrate', '--frames', frames, '--camera', 'cam-1', '--lot', 'CAM-1', '--out', join(folder, 'cam-1.json'))
  const config = JSON.parse(readFileSync(join(folder, 'cam-1.json'), 'utf8')) as { bays: { bay: string }[] }
  mkdirSync(join(folder, 'cameras'))
  const lots: object[] = lotNames(LOTS).map(lot => ({ lot, capacity: CAPACITY, occupied: 0 }))
  for (let n = 1; n <= CAMERAS; n++) {
    writeFileSync(join(folder, 'cameras', `cam-${n}.json`), JSON.stringify({ ...config, camera: `cam-${n}`, lot: `CAM-${n}` }))
    lots.push({ lot: `CAM-${n}`, capacity: BAYS, bays: config.bays.map(({ bay }) => bay), baysCover: true })
  }
  writeFileSync(join(folder, 'lots.json'), JSON.stringify({ lots }))
  const written = readdirSync(frames).filter(name => name.endsWith('.json')).sort().map(name => {
    const label = JSON.parse(readFileSync(join(frames, name), 'utf8')) as { bays: { occupied: boolean }[] }
    return { jpeg: readFileSync(join(frames, name.replace('.json', '.jpg'))), taken: label.bays.filter(({ occupied }) => occupied).length }
  }).sort((a, b) => a.taken - b.taken)
  const [least, most] = [written[0], written.at(-1)]
  if (least === undefined || most === undefined || least.taken === most.taken) throw new Error(`with the seed ${seed} all frames have as many cars: choose another with --seed`)
  say(`  frames of ${whole(least.jpeg.length)} and ${whole(most.jpeg.length)} bytes, with ${least.taken} and ${most.taken} of ${BAYS} bays taken`)
  return { cameras: join(folder, 'cameras'), lots: join(folder, 'lots.json'), frames: [least.jpeg, most.jpeg] }
}

interface Feed {
  readonly latency: Histogram
  readonly counts: { sent: number, acknowledged: number, refused: number, heard: number }
  /** Frames flow while `work` is done. */
  during<T> (work: () => Promise<T>): Promise<T>
  reset (): void
  stop (): Promise<void>
}

/** The cameras, each a client that publishes at a fixed rate, and one display that hears of `free`. */
async function startFeed (target: Target, frames: readonly Buffer[]): Promise<Feed> {
  const url = `mqtt://127.0.0.1:${target.port}`
  const clients: MqttClient[] = []
  for (let n = 1; n <= CAMERAS; n++) clients.push(await connectMqtt(url, { clientId: `cam-${n}` }))
  const display = await connectMqtt(url)
  let latency = newLatency()
  const counts = { sent: 0, acknowledged: 0, refused: 0, heard: 0 }
  const sentMs = new Map<string, number>()
  display.on('message', (topic, _, packet) => {
    const began = sentMs.get(topic)
    if (began === undefined || packet.retain) return
    sentMs.delete(topic)
    counts.heard++
    latency.recordValue(Math.round((performance.now() - began) * 1_000))
  })
  await display.subscribeAsync('lots/+/free', { qos: 1 })
  let seq = 0
  const send = (client: MqttClient, n: number): void => {
    seq++
    const frame = frames[Math.floor(seq / CAMERAS) % frames.length]
    if (frame === undefined) return
    counts.sent++
    sentMs.set(`lots/CAM-${n}/free`, performance.now())
    const properties = { contentType: 'image/jpeg', userProperties: { lot: `CAM-${n}`, epoch: '1', seq: String(seq), capturedAt: new Date().toISOString() } }
    client.publish(`cameras/cam-${n}/frame`, frame, { qos: 1, properties }, error => {
      if (error) counts.refused++
      else counts.acknowledged++
    })
  }
  return {
    get latency () { return latency },
    counts,
    async during (work) {
      const timers = clients.map((client, i) => {
        let timer: NodeJS.Timeout | undefined
        const begin = setTimeout(() => { timer = setInterval(() => send(client, i + 1), CAMERAS * 1_000 / FRAMES_A_SECOND) }, i * 1_000 / FRAMES_A_SECOND)
        return () => {
          clearTimeout(begin)
          clearInterval(timer)
        }
      })
      try {
        return await work()
      } finally {
        for (const end of timers) end()
      }
    },
    reset () {
      latency = newLatency()
      Object.assign(counts, { sent: 0, acknowledged: 0, refused: 0, heard: 0 })
    },
    stop: async () => { await Promise.all([...clients, display].map(endMqtt)) }
  }
}

async function sayFrames (target: Target, { latency, counts }: Feed): Promise<void> {
  say(`  frames: ${whole(counts.sent)} sent, ${whole(counts.acknowledged)} acknowledged, ${whole(counts.refused)} refused, ${whole(counts.heard)} heard of in a new \`free\``)
  say(`  from PUBLISH to \`free\`: p50 ${percentileMs(latency, 50)} ms, p95 ${percentileMs(latency, 95)} ms, p99 ${percentileMs(latency, 99)} ms`)
  if (target.http === undefined) return
  const page = await readMetrics(target.http)
  const of = (outcome: string): number => grown(new Map(), page, 'parkmq_camera_frames_total', `outcome="${outcome}"`)
  say(`  since the start: ${whole(of('applied'))} applied, ${whole(of('dropped'))} dropped for newer ones`)
}
