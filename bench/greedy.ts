// `greedy`: what one client that keeps hundreds of long requests under way does to everybody else: to messages that no service
// takes, and to the requests of another.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectMqtt, endMqtt } from '../shared/mqtt-client.js'
import { createRequester } from '../shared/requester.js'
import { Child } from './child.js'
import { newLatency, percentileMs, say, whole } from './figures.js'
import { FILLED_CONFIG, filledLot, fillLedger } from './filled-ledger.js'
import { latencyOf, recordMs, sayLatency } from './latency.js'
import type { Options } from './options.js'
import { ping } from './pingers.js'
import { newFolder, startParkmq, type Target } from './processes.js'

/** In the history: more than one page looks at. */
const ENDED = 50_000
const LOTS = 10
const UNDER_WAY = 300
const PINGERS = 10
const PAUSE_MS = 10

/** What the greedy process is asked. */
export type GreedyRequests = {
  begin: { in: { port: number, underWay: number }, out: void }
  /** How many were answered. */
  end: { in: null, out: number }
}

export async function greedy ({ seconds = 5 }: Options): Promise<void> {
  const folder = newFolder()
  const data = join(folder, 'data')
  const config = join(folder, 'settings.json')
  writeFileSync(config, FILLED_CONFIG)
  await fillLedger(data, { lots: LOTS, ended: ENDED })
  const parkmq = await startParkmq(['--data', data, '--config', config])
  say(`greedy: ${PINGERS} clients await their own message and one asks for a lot, ${seconds} s each; beside them one keeps ${UNDER_WAY} lists of what is rare in ${whole(ENDED)} reservations under way`)
  try {
    // The first ones warm up what is measured.
    await others(parkmq, 1, null)
    await others(parkmq, seconds, 'without')
    const child = new Child<GreedyRequests>('./greedy-process.js')
    await child.ask('begin', { port: parkmq.port, underWay: UNDER_WAY })
    await others(parkmq, seconds, 'beside it')
    const answered = await child.ask('end', null)
    await child.stop()
    say(`  ${whole(answered)} lists were answered`)
  } finally {
    await parkmq.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function others (parkmq: Target, seconds: number, when: string | null): Promise<void> {
  const [{ latency, pings, unanswered }, requests] = await Promise.all([ping({ port: parkmq.port, wsPort: null }, PINGERS, seconds), asking(parkmq, seconds)])
  if (when === null) return
  say(`  ${when.padEnd(10)} round trip p50 ${percentileMs(latency, 50)} ms, p99 ${percentileMs(latency, 99)} ms, longest ${percentileMs(latency, 100)} ms (${whole(pings)} pings${unanswered > 0 ? `, ${unanswered} NOT ANSWERED` : ''}); requests ${requests}`)
}

/** One at a time. */
async function asking ({ port }: Target, seconds: number): Promise<string> {
  const client = await connectMqtt(`mqtt://127.0.0.1:${port}`)
  const requester = await createRequester(client)
  const latency = newLatency()
  for (const untilMs = performance.now() + seconds * 1_000; performance.now() < untilMs;) {
    const beganMs = performance.now()
    const reply = await requester.request('lots', { lot: filledLot(0) })
    if (!reply.ok) throw new Error(`lots: ${reply.error.message}`)
    recordMs(latency, performance.now() - beganMs)
    await sleep(PAUSE_MS)
  }
  await requester.close()
  await endMqtt(client)
  return sayLatency(latencyOf(latency))
}
