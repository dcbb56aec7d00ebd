// How late the retained topics of each node show a car that was counted by one of them, while the whole cluster is under load.
import { randomBytes } from 'node:crypto'
import { connectMqtt, endMqtt } from '../../shared/mqtt-client.js'
import { newLatency } from '../figures.js'
import { latencyOf, recordMs, type Latency } from '../latency.js'
import { ClusterLoad, FOLLOWED, ROOMY } from './load.js'
import type { RunningCluster } from './running-cluster.js'

const CHANGES = 300
/** Nodes that have just started run twice as slowly: V8 compiles what is used often only by and by, and a node runs for months. */
const WARM_UP = 500
const LONGEST_REST_MS = 40
const SHOWN_WITHIN_MS = 10_000
const TOPIC = `lots/${FOLLOWED}/free`

export interface Following {
  /** From the publishing of a sensor message to `free` that includes it: at the node that got the message, and at the others. */
  readonly own: Latency
  readonly others: Latency
}

export async function measureFollowing (cluster: RunningCluster): Promise<Following> {
  const load = await ClusterLoad.start(cluster.urls, ROOMY)
  const clients = await Promise.all(cluster.urls.map(async url => await connectMqtt(url)))
  const [first] = clients
  if (first === undefined) throw new Error('the cluster has no nodes')
  try {
    const shown = clients.map(() => NaN)
    let onShown = (_node: number): void => {}
    for (const [node, client] of clients.entries()) {
      client.on('message', (_topic, payload) => {
        shown[node] = Number(payload.toString())
        onShown(node)
      })
      await client.subscribeAsync(TOPIC, { qos: 1 })
    }
    const [own, others] = [newLatency(), newLatency()]
    const sensor = `following-${randomBytes(3).toString('hex')}`
    await until(() => shown.every(free => free === shown[0]))
    for (let seq = 1; seq <= WARM_UP + CHANGES; seq++) {
      const free = (shown[0] ?? NaN) - 1
      const publishedMs = performance.now()
      onShown = node => { if (seq > WARM_UP && shown[node] === free) recordMs(node === 0 ? own : others, performance.now() - publishedMs) }
      await first.publishAsync(`lots/${FOLLOWED}/sensor`, JSON.stringify({ sensor, epoch: 1, seq, delta: 1 }), { qos: 1 })
      await until(() => shown.every(one => one === free))
      await new Promise(resolve => setTimeout(resolve, Math.random() * LONGEST_REST_MS))
    }
    await load.finish()
    await load.giveBack()
    return { own: latencyOf(own), others: latencyOf(others) }
  } finally {
    await Promise.all([load.end(), ...clients.map(endMqtt)])
  }
}

async function until (isSo: () => boolean): Promise<void> {
  const untilMs = performance.now() + SHOWN_WITHIN_MS
  while (!isSo()) {
    if (performance.now() > untilMs) throw new Error(`not all nodes show the same on ${TOPIC} after ${SHOWN_WITHIN_MS / 1_000} s`)
    await new Promise(resolve => setTimeout(resolve, 1))
  }
}
