// A node dies (kill -9) and its clients move by themselves: sensors, requests under way, who was given both nodes and who has only heard
// of the other. Every message counts once, every request has its effect once.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { connectMqtt, endMqtt, type ConnectOptions } from '../../shared/mqtt-client.js'
import { createRequester } from '../../shared/requester.js'
import type { MqttClient } from 'mqtt'
import { connectTestClient, startTestApp, testFolder } from '../support/app.js'
import { PROGRAM, startProcess, type ParkmqProcess } from '../support/process.js'
import { pause } from './load.js'
import { ABSENT, serverOfFile, SKIPPED } from './support.js'

const CAPACITY = 10_000
const LOTS = ['A', 'B']
const EVERY_MS = 5
const UNTIL_KILL_MS = 1_500
const AFTER_MS = 2_500
/** Between acknowledgements: of a client whose node is killed, in milliseconds. It is 0.5 s on a machine that does nothing else. */
const MOST_GAP_MS = 1_500

interface Pair {
  readonly database: string
  readonly north: ParkmqProcess
  readonly south: ParkmqProcess
  /** The URLs of north and south. */
  readonly urls: readonly [string, string]
}

async function connect (url: string, options: ConnectOptions = {}): Promise<MqttClient> {
  const client = await connectMqtt(url, { reconnect: true, ...options })
  client.on('error', () => { /* A try in vain. */ })
  onTestFinished(() => endMqtt(client))
  return client
}

/** A sensor that counts a car in every few milliseconds until it is stopped. */
class Sensor {
  readonly #client: MqttClient
  readonly #name: string
  #open = 0
  #lastMs = performance.now()
  sent = 0
  acknowledged = 0
  longestGapMs = 0
  readonly #timer: NodeJS.Timeout

  constructor (client: MqttClient, name: string) {
    this.#client = client
    this.#name = name
    this.#timer = setInterval(() => this.#send(), EVERY_MS)
    onTestFinished(() => clearInterval(this.#timer))
  }

  #send (): void {
    // As our own simulator: the window in which duplicates are known has 64 places.
    if (this.#open >= 60) return
    this.#open++
    this.#client.publish('lots/A/sensor', JSON.stringify({ sensor: this.#name, epoch: 1, seq: ++this.sent, delta: 1 }), { qos: 1 }, error => {
      if (error) return
      this.#open--
      this.acknowledged++
      this.longestGapMs = Math.max(this.longestGapMs, performance.now() - this.#lastMs)
      this.#lastMs = performance.now()
    })
  }

  async stop (): Promise<void> {
    clearInterval(this.#timer)
    for (let n = 0; this.#open > 0 && n < 500; n++) await pause(20)
  }
}

describe.skipIf(ABSENT !== null)(`clients of a node that dies${SKIPPED}`, () => {
  const server = serverOfFile()

  const startPair = async (): Promise<Pair> => {
    const database = await server().database()
    const settings = join(testFolder(), 'parkmq.json')
    writeFileSync(settings, JSON.stringify({ lots: LOTS.map(lot => ({ lot, capacity: CAPACITY })), limits: { reservationsPerPlate: CAPACITY } }))
    const [north, south] = await Promise.all(['north', 'south'].map(async node => await startProcess(testFolder(), ['--config', settings, '--database', database, '--node', node]))) as [ParkmqProcess, ParkmqProcess]
    const urls = [`mqtt://127.0.0.1:${north.port}`, `mqtt://127.0.0.1:${south.port}`] as const
    // Each knows the other.
    for (const url of urls) await (await (await connectTestClient(url)).subscribe('cluster/nodes')).last('cluster/nodes', text => urls.every(one => text.includes(one)))
    return { database, north, south, urls }
  }
  const countedOf = async (database: string): Promise<number> => (await server().query<{ counted: number }>(database, 'select counted::int as counted from lots where id = \'A\''))[0]?.counted ?? -1

  test('sensors with both URLs, and with one and what they heard, go on at the other; those of the other notice little', { timeout: 60_000 }, async () => {
    const { database, north, urls: [first, second] } = await startPair()
    const sensors = [
      new Sensor(await connect(`${first},${second}`), 'both'),
      new Sensor(await connect(first, { learn: true }), 'heard'),
      new Sensor(await connect(second), 'other')
    ]
    await pause(UNTIL_KILL_MS)
    for (const sensor of sensors) sensor.longestGapMs = 0
    await north.kill()
    await pause(AFTER_MS)
    await Promise.all(sensors.map(async sensor => await sensor.stop()))
    process.stdout.write(`a node was killed; longest gap in acknowledgements: ${sensors.map(({ longestGapMs }, n) => `${['with both URLs', 'with one and what it heard', 'at the other node'][n]} ${Math.round(longestGapMs)}`).join(', ')} ms\n`)
    for (const { sent, acknowledged, longestGapMs } of sensors) {
      expect(acknowledged).toBe(sent)
      expect(longestGapMs).toBeLessThan(MOST_GAP_MS)
    }
    expect(await countedOf(database)).toBe(sensors.reduce((sum, { sent }) => sum + sent, 0))
  })

  test('`parkmq simulate` with two URLs ends well, and every message counts once', { timeout: 60_000 }, async () => {
    const { north, urls } = await startPair()
    const simulate = spawn(process.execPath, [PROGRAM, 'simulate', '--url', urls.join(','), '--rate', '300', '--duration', '4s', '--verify', '--json', '--quiet'], { stdio: ['ignore', 'pipe', 'pipe'] })
    const ended = once(simulate, 'exit') as Promise<[number | null]>
    onTestFinished(async () => {
      simulate.kill('SIGKILL')
      await ended
    })
    let said = ''
    let errors = ''
    simulate.stdout.on('data', (text: Buffer) => { said += text.toString() })
    simulate.stderr.on('data', (text: Buffer) => { errors += text.toString() })
    const watcher = await (await connectTestClient(urls[1])).subscribe('lots/+/state')
    await watcher.until('a car of the simulator', ({ text }) => (JSON.parse(text) as { version: number }).version > 20)
    await north.kill()
    expect([(await ended)[0], errors]).toEqual([0, ''])
    const summary = JSON.parse(said) as { sent: number, acknowledged: number, reconnects: number, latencyMs: { max: number } }
    process.stdout.write(`parkmq simulate moved: ${summary.sent} sent, ${summary.acknowledged} acknowledged, the slowest after ${Math.round(summary.latencyMs.max)} ms\n`)
    expect(summary).toMatchObject({ acknowledged: summary.sent, refused: 0, reconnects: 1 })
  })

  test('requests under way are repeated at the next node with the same id', { timeout: 60_000 }, async () => {
    const { database, north, urls } = await startPair()
    let over = false
    const made: string[] = []
    const drivers = Array.from({ length: 8 }, async (_, n) => {
      const requester = await createRequester(await connect(urls.join(',')), { timeoutMs: 10_000 })
      for (let i = 0; !over; i++) {
        const reply = await requester.request('reserve', { lot: 'B', plate: `D${n}-${i}`, holdSeconds: 600 })
        expect(reply).toMatchObject({ ok: true })
        if (reply.ok) made.push((reply.result as { reservation: string }).reservation)
      }
      await requester.close()
    })
    await pause(1_000)
    const before = made.length
    await north.kill()
    await pause(1_500)
    over = true
    await Promise.all(drivers)
    const rows = await server().query<{ id: string }>(database, 'select id from reservations')
    expect(made.length).toBeGreaterThan(before)
    expect(rows.map(({ id }) => id).sort()).toEqual([...made].sort())
  })

  test('a command takes the first broker that lets it in', async () => {
    const { north, urls } = await startPair()
    await north.kill()
    const run = spawn(process.execPath, [PROGRAM, 'lots', '--json', '--url', urls.join(',')], { stdio: ['ignore', 'pipe', 'inherit'] })
    let said = ''
    run.stdout.on('data', (text: Buffer) => { said += text.toString() })
    expect(await once(run, 'exit')).toEqual([0, null])
    expect(JSON.parse(said)).toMatchObject({ ok: true })
  })
})

test('the next of the list may be reached another way: from TCP to WebSocket and back', async () => {
  const [first, second] = [await startTestApp(), await startTestApp()]
  const client = await connect(`${first.url},ws://127.0.0.1:${second.app.wsPort}`)
  const watcher = await (await second.connect()).subscribe('some/#')
  await first.app.stop()
  await client.publishAsync('some/thing', 'moved', { qos: 1 })
  await watcher.last('some/thing', 'moved')
  const again = await startTestApp({ settings: { port: Number(new URL(first.url).port) } })
  const there = await (await again.connect()).subscribe('some/#')
  await second.app.stop()
  await client.publishAsync('some/thing', 'back', { qos: 1 })
  await there.last('some/thing', 'back')
})
