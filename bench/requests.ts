// `requests`: what a driver waits for a reservation.
import { connectMqtt, endMqtt } from '../shared/mqtt-client.js'
import { createRequester } from '../shared/requester.js'
import { newLatency, percentileMs, say } from './figures.js'
import { startParkmq } from './processes.js'

const REQUESTS = 2_000
/** Not counted: they warm the process up. */
const FIRST_REQUESTS = 200

/** `reserve` and `cancel` from one client, one after the other. */
export async function requests (): Promise<void> {
  const parkmq = await startParkmq()
  const client = await connectMqtt(`mqtt://127.0.0.1:${parkmq.port}`)
  const requester = await createRequester(client, {})
  const latency = newLatency()
  for (let n = 0; n < FIRST_REQUESTS + REQUESTS; n++) {
    const startedMs = performance.now()
    const reply = await requester.request('reserve', { lot: 'LOT-A', plate: `P${n}` })
    if (n >= FIRST_REQUESTS) latency.recordValue(Math.round((performance.now() - startedMs) * 1_000))
    if (!reply.ok) throw new Error(reply.error.message)
    const { reservation, secret } = reply.result as { reservation: string, secret: string }
    await requester.request('cancel', { reservation, secret })
  }
  await requester.close()
  await endMqtt(client)
  await parkmq.stop()
  say(`requests: reserve, one client, one at a time: p50 ${percentileMs(latency, 50)} ms, p95 ${percentileMs(latency, 95)} ms, p99 ${percentileMs(latency, 99)} ms`)
}
