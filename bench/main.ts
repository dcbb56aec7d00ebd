// `npm run bench`: what the first page of docs/performance.md says, measured here and now.
import { fileURLToPath } from 'node:url'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'hdr-histogram-js'
import { connectMqtt, endMqtt } from '../shared/mqtt-client.js'
import { createRequester } from '../shared/requester.js'
import { load, sayLoad } from './publishers.js'
import { startParkmq, startStockAedes } from './processes.js'
import { rawSubscriber } from './raw-client.js'

const PUBLISHERS = 4
const WINDOW = 64
const MESSAGES = 50_000
const ROUNDS = 3
const LOTS = ['LOT-A', 'LOT-B', 'LOT-C', 'LOT-D']

const topic = (publisher: number): string => `lots/${LOTS[publisher % LOTS.length]}/sensor`
const payload = (publisher: number, n: number): string => JSON.stringify({ sensor: `gate-${publisher}`, epoch: 1, seq: n, delta: n % 2 === 0 ? -1 : 1 })
const say = (line: string): void => { process.stdout.write(`${line}\n`) }

/** Durable ingest beside the same aedes merely forwarding to one plain subscriber, in turn. */
async function ingest (): Promise<void> {
  say(`ingest: ${PUBLISHERS} publishers, window ${WINDOW}, ${MESSAGES} messages each, QoS 1`)
  const ratios: number[] = []
  for (let round = 1; round <= ROUNDS; round++) {
    const parkmq = await startParkmq()
    const durable = await load({ port: parkmq.port, publishers: PUBLISHERS, window: WINDOW, messages: MESSAGES, topic, payload })
    await parkmq.stop()
    const aedes = await startStockAedes()
    let delivered = 0
    let allDelivered = (): void => {}
    const all = new Promise<void>(resolve => { allDelivered = resolve })
    const subscriber = await rawSubscriber(aedes.port, 'lots/+/sensor', () => { if (++delivered === PUBLISHERS * MESSAGES) allDelivered() })
    const forwarding = await load({ port: aedes.port, publishers: PUBLISHERS, window: WINDOW, messages: MESSAGES, topic, payload })
    await all
    subscriber.destroy()
    await aedes.stop()
    ratios.push(durable.perSecond / forwarding.perSecond)
    say(`  round ${round}: parkmq, committed before PUBACK  ${sayLoad(durable)}`)
    say(`           stock aedes, forwarding to one   ${sayLoad(forwarding)}`)
    say(`           ratio ${(durable.perSecond / forwarding.perSecond).toFixed(2)}`)
  }
  say(`  median ratio ${ratios.sort((a, b) => a - b)[Math.floor(ratios.length / 2)]?.toFixed(2)}`)
}

/** `reserve` and `cancel` from one client, one after the other. */
async function requests (): Promise<void> {
  const parkmq = await startParkmq()
  const client = await connectMqtt(`mqtt://127.0.0.1:${parkmq.port}`)
  const requester = await createRequester(client, {})
  const latency = build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 })
  for (let n = 0; n < 2_200; n++) {
    const startedMs = performance.now()
    const reply = await requester.request('reserve', { lot: 'LOT-A', plate: `P${n}` })
    // The first ones warm the process up.
    if (n >= 200) latency.recordValue(Math.round((performance.now() - startedMs) * 1_000))
    if (!reply.ok) throw new Error(reply.error.message)
    const { reservation, secret } = reply.result as { reservation: string, secret: string }
    await requester.request('cancel', { reservation, secret })
  }
  await requester.close()
  await endMqtt(client)
  await parkmq.stop()
  const ms = (percentile: number): string => (latency.getValueAtPercentile(percentile) / 1_000).toFixed(2)
  say(`reserve, one client, one at a time: p50 ${ms(50)} ms, p95 ${ms(95)} ms, p99 ${ms(99)} ms`)
}

/** Time to ready and idle memory, with four and with ten thousand lots. */
async function starting (): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'parkmq-bench-lots-'))
  const file = join(folder, 'lots.json')
  writeFileSync(file, JSON.stringify({ lots: Array.from({ length: 10_000 }, (_, i) => ({ lot: `L-${i}`, capacity: 100, occupied: i % 100 })) }))
  for (const [name, args] of [['4 lots', []], ['10,000 lots, first start', ['--config', file, '--data', join(folder, 'data')]], ['10,000 lots, started again', ['--config', file, '--data', join(folder, 'data')]]] as const) {
    const parkmq = await startParkmq(args)
    say(`start with ${name}: ready after ${Math.round(parkmq.readyMs)} ms, ${Math.round(parkmq.memoryBytes() / 1e6)} MB resident`)
    await parkmq.stop()
  }
  rmSync(folder, { recursive: true, force: true })
}

const scenarios = { ingest, requests, start: starting }
const asked = process.argv.slice(2)
for (const name of asked) {
  if (Object.hasOwn(scenarios, name)) continue
  process.stderr.write(`there is no scenario ${name}; there are ${Object.keys(scenarios).join(', ')} (${fileURLToPath(import.meta.url)})\n`)
  process.exit(2)
}
for (const [name, scenario] of Object.entries(scenarios)) if (asked.length === 0 || asked.includes(name)) await scenario()
