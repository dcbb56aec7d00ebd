// `scale`: whether parkmq costs the same for each thing, however many there are: the processor time of a sensor message and the
// memory of a lot as lots and sensor identities grow, and the memory of a connection as connections do.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DEFAULT_SEED } from './baseline.js'
import { say, whole } from './figures.js'
import { FILLED_CONFIG, fillLedger } from './filled-ledger.js'
import { percentileOf, sayLatency } from './latency.js'
import type { Options } from './options.js'
import { newFolder, startParkmq, startStockAedes, type Target } from './processes.js'
import { Progress } from './progress.js'
import { Recorder } from './recorder.js'
import type { ScenarioResult } from './results.js'
import { ScatteredGenerator } from './scattered-generator.js'

const MOST_LOTS = 100_000
/** The middle size has so many times fewer lots than the largest, and what the cost is compared with. */
const STEP = 100
const FEWEST_LOTS = 4
const IDENTITIES_PER_LOT = 10
const MESSAGES = 100_000
const PUBLISHERS = 4
const WINDOW = 64
const MOST_CONNECTIONS = 5_000
const FEWEST_CONNECTIONS = 10
/** Memory is read when garbage has had time to go: a millisecond for each thing there is, and at most so many. */
const MOST_SETTLE_MS = 2_000
/** The lot of the idle connections: nobody else says anything of it. */
const QUIET = 'lots/QUIET/free'
const BYTES = { name: 'resident memory', unit: 'bytes' }

/** One ledger and the process that serves it. */
interface Size {
  readonly name: string
  readonly lots: number
  readonly identities: number
}

export async function scale ({ rounds = 3, lots = MOST_LOTS, messages = MESSAGES, connections = MOST_CONNECTIONS, seed = DEFAULT_SEED }: Options): Promise<ScenarioResult> {
  const title = 'What a sensor message, a lot and a connection cost as lots, sensor identities and connections grow'
  const sizes = sizesUpTo(lots)
  const recorder = new Recorder({
    scenario: 'scale', title,
    parameters: { rounds, lots: sizes.map(size => size.lots), identities: sizes.map(size => size.identities), messages, publishers: PUBLISHERS, window: WINDOW, connections, qos: 1, mqtt: '3.1.1', seed }
  })
  recorder.note('Each message is of an identity drawn at random; each identity belongs to one of the publishers. All is committed to disk before its PUBACK.')
  recorder.note('Memory is resident memory, garbage that is not collected yet included.')
  say(`scale: ${title}; ${whole(messages)} messages in each of ${rounds} rounds; seed ${seed}`)
  await measureLots(recorder, sizes, { rounds, messages, seed })
  await measureConnections(recorder, connections)
  for (const { what, numerator, denominator, median, rounds: all } of recorder.ratios()) {
    say(`  ${what}: ${numerator} / ${denominator} = ${median.toFixed(2)} (median; ${all.map(ratio => ratio.toFixed(2)).join(', ')})`)
  }
  return recorder.result()
}

/** 4 lots, which have as many identities as the middle size, and the two that are compared. */
function sizesUpTo (lots: number): Size[] {
  const middle = Math.max(FEWEST_LOTS, Math.round(lots / STEP))
  const sizeOf = (count: number, identities: number): Size => ({ name: `${whole(count)} lots, ${whole(identities)} identities`, lots: count, identities })
  const few = sizeOf(FEWEST_LOTS, middle * IDENTITIES_PER_LOT - middle * IDENTITIES_PER_LOT % FEWEST_LOTS)
  return [few, ...middle > FEWEST_LOTS ? [sizeOf(middle, middle * IDENTITIES_PER_LOT)] : [], sizeOf(lots, lots * IDENTITIES_PER_LOT)]
}

interface LoadOptions {
  readonly rounds: number
  readonly messages: number
  readonly seed: number
}

/** The sizes take turns, so that what else the machine does meets them all. */
async function measureLots (recorder: Recorder, sizes: readonly Size[], { rounds, messages, seed }: LoadOptions): Promise<void> {
  const progress = new Progress('scale', sizes.length * (rounds + 2))
  const generator = new ScatteredGenerator()
  const folders: string[] = []
  const running = new Map<Size, Target>()
  try {
    for (const size of sizes) {
      progress.next(`${size.name}: filling`)
      const folder = newFolder()
      folders.push(folder)
      await fillLedger(folder, size)
      const config = join(folder, 'config.json')
      writeFileSync(config, FILLED_CONFIG)
      const parkmq = await startParkmq(['--config', config, '--data', folder])
      running.set(size, parkmq)
      await generator.make(size.name, { ports: { port: parkmq.port, wsPort: null }, lots: size.lots, identities: size.identities, publishers: PUBLISHERS, window: WINDOW, seed })
    }
    await settle(sizes.at(-1)?.lots ?? 0)
    recordMemory(recorder, sizes, running, 'after the start')
    // Round 0 warms up what is measured.
    for (let round = 0; round <= rounds; round++) {
      const costs = new Map<Size, number>()
      for (let i = 0; i < sizes.length; i++) {
        const size = sizes[(i + round) % sizes.length] as Size
        progress.next(`${size.name}, round ${round}`)
        costs.set(size, await measureMessages(recorder, generator, size, running.get(size) as Target, messages, round))
      }
      if (round > 0) recordRatios(recorder, sizes, costs)
    }
    await settle(sizes.at(-1)?.lots ?? 0)
    recordMemory(recorder, sizes, running, 'after the messages')
  } finally {
    await generator.stop()
    for (const parkmq of running.values()) await parkmq.stop()
    for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  }
}

/** Returns the processor time of a message, in microseconds. */
async function measureMessages (recorder: Recorder, generator: ScatteredGenerator, { name, lots }: Size, parkmq: Target, messages: number, round: number): Promise<number> {
  const before = parkmq.cpuMs()
  const { sent, acknowledged, seconds, ack, closed } = await generator.run(name, messages)
  const cpuUs = (parkmq.cpuMs() - before) * 1_000 / Math.max(1, sent)
  if (round === 0) return cpuUs
  const x = { name: 'lots', unit: '' }
  recorder.add({ what: 'processor time', of: {}, x, y: { name: 'processor time of a message', unit: 'us' } }, lots, cpuUs)
  recorder.add({ what: 'throughput to PUBACK', of: {}, x, y: { name: 'sensor messages', unit: '1/s' } }, lots, acknowledged / seconds)
  for (const percentile of [50, 95, 99, 100] as const) recorder.add({ what: 'time to PUBACK', of: { percentile: `p${percentile}` }, x, y: { name: 'time', unit: 'ms' } }, lots, percentileOf(ack, percentile))
  recorder.account({ size: name }, { sent, acknowledged, closed: closed.length })
  say(`  round ${round}, ${name}: ${cpuUs.toFixed(1)} us of processor time each; PUBACK ${whole(acknowledged / seconds)}/s after ${sayLatency(ack)}, longest ${percentileOf(ack, 100).toFixed(0)} ms` +
    `${acknowledged < sent ? `; ${whole(sent - acknowledged)} NOT ACKNOWLEDGED` : ''}${closed.length > 0 ? `; ${closed.length} connections: ${closed[0]}` : ''}`)
  return cpuUs
}

function recordRatios (recorder: Recorder, sizes: readonly Size[], costs: ReadonlyMap<Size, number>): void {
  const largest = sizes.at(-1) as Size
  for (const size of sizes) {
    if (size === largest) continue
    recorder.ratio({ what: 'processor time of a message', of: {}, numerator: largest.name, denominator: size.name, better: 'lower' }, (costs.get(largest) ?? NaN) / (costs.get(size) ?? NaN))
  }
}

/** All of it, and what each lot beyond the fewest takes. */
function recordMemory (recorder: Recorder, sizes: readonly Size[], running: ReadonlyMap<Size, Target>, when: string): void {
  const memory = (size: Size): number => running.get(size)?.memoryBytes() ?? NaN
  const [base] = sizes
  if (base === undefined) return
  const x = { name: 'lots', unit: '' }
  for (const size of sizes) {
    const bytes = memory(size)
    recorder.add({ what: 'memory', of: { when }, x, y: BYTES }, size.lots, bytes)
    if (size === base) {
      say(`  memory ${when}, ${size.name}: ${whole(bytes / 1e6)} MB`)
      continue
    }
    const each = (bytes - memory(base)) / (size.lots - base.lots)
    recorder.add({ what: 'memory of a lot beyond the base', of: { when }, x, y: BYTES }, size.lots, each)
    say(`  memory ${when}, ${size.name}: ${whole(bytes / 1e6)} MB, ${whole(each)} bytes a lot beyond the base`)
  }
}

/** Beside stock aedes, which takes the same connections. */
async function measureConnections (recorder: Recorder, most: number): Promise<void> {
  const counts = [...new Set([FEWEST_CONNECTIONS, Math.round(most / 5), most])].filter(count => count >= FEWEST_CONNECTIONS)
  const progress = new Progress('scale, connections', 2 * counts.length)
  const folder = newFolder()
  const perConnection = new Map<string, number>()
  try {
    const config = join(folder, 'config.json')
    writeFileSync(config, FILLED_CONFIG)
    for (const [name, start] of [['parkmq', async () => await startParkmq(['--config', config])], ['aedes', startStockAedes]] as const) {
      const generator = new ScatteredGenerator()
      const broker = await start()
      try {
        let base = NaN
        for (const count of counts) {
          progress.next(`${name}, ${whole(count)} connections`)
          const closed = await generator.idle(name, { port: broker.port, wsPort: null }, QUIET, count)
          await settle(count)
          const bytes = broker.memoryBytes()
          recorder.account({ system: name, connections: String(count) }, { connected: count, closed: closed.length })
          recorder.add({ what: 'memory', of: { system: name }, x: { name: 'connections', unit: '' }, y: BYTES }, count, bytes)
          if (count === FEWEST_CONNECTIONS) {
            base = bytes
            say(`  ${name}, ${whole(count)} connections: ${whole(bytes / 1e6)} MB`)
            continue
          }
          const each = (bytes - base) / (count - FEWEST_CONNECTIONS)
          perConnection.set(name, each)
          recorder.add({ what: 'memory of a connection beyond the base', of: { system: name }, x: { name: 'connections', unit: '' }, y: BYTES }, count, each)
          say(`  ${name}, ${whole(count)} connections: ${whole(bytes / 1e6)} MB, ${whole(each)} bytes a connection beyond the base${closed.length > 0 ? `; ${closed.length} WERE CLOSED: ${closed[0]}` : ''}`)
        }
      } finally {
        await generator.stop()
        await broker.stop()
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  const [ours, theirs] = [perConnection.get('parkmq'), perConnection.get('aedes')]
  if (ours !== undefined && theirs !== undefined) recorder.ratio({ what: 'memory of a connection', of: {}, numerator: 'parkmq', denominator: 'aedes', better: 'lower' }, ours / theirs)
}

async function settle (things: number): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, Math.min(things, MOST_SETTLE_MS)))
}
