// Looks at everything after a round: what was acknowledged is there, nothing is there twice, nothing is over capacity, and what every
// node shows is what the ledger has.
import type { MqttClient } from 'mqtt'
import { connectMqtt, endMqtt, UnreachableError } from '../../shared/mqtt-client.js'
import { CAPACITIES, type ClusterLoad } from './load.js'
import type { RunningCluster } from './running-cluster.js'

/** How long a node may take until it shows what the ledger has. */
const SHOWN_WITHIN_MS = 10_000

interface LotRow { readonly id: string, readonly counted: number, readonly held: number, readonly version: number }

export async function countedBefore (cluster: RunningCluster): Promise<Map<string, number>> {
  return new Map((await lotRows(cluster)).map(({ id, counted }) => [id, counted]))
}

/** What is wrong, in sentences; nothing when all is as it must be. */
export async function whatIsWrong (cluster: RunningCluster, load: ClusterLoad, before: ReadonlyMap<string, number>, nodes: readonly string[]): Promise<string[]> {
  const { history, sensors, id } = load
  const wrong = [...history.violations]
  for (const [n, { sent, acknowledged, lastError }] of sensors.entries()) {
    if (acknowledged !== sent) wrong.push(`sensor ${n}: ${sent} were published, ${acknowledged} acknowledged${lastError === null ? '' : ` (${lastError})`}`)
  }
  const lots = await lotRows(cluster)
  for (const lot of lots) {
    const ours = sensors.filter(sensor => sensor.lot === lot.id).reduce((sum, { acknowledged }) => sum + acknowledged, 0)
    const counted = lot.counted - (before.get(lot.id) ?? 0)
    if (counted !== ours) wrong.push(`${lot.id}: ${ours} cars were acknowledged, ${counted} are counted`)
    if (lot.held > (CAPACITIES.get(lot.id) ?? 0)) wrong.push(`${lot.id}: ${lot.held} reservations for ${CAPACITIES.get(lot.id)} places`)
  }
  const rows = await cluster.query<{ id: string, lot: string, status: string }>(`select id, lot, status from reservations where upper(plate) like '${id.toUpperCase()}%'`)
  wrong.push(...difference('granted', [...history.granted.keys()], rows.map(row => row.id)))
  wrong.push(...difference('held', [...history.held.keys()], rows.filter(({ status }) => status === 'held').map(row => row.id)))
  wrong.push(...(await Promise.all(nodes.map(async node => await whatIsShownWrong(node, lots)))).flat())
  return wrong
}

function difference (what: string, told: readonly string[], there: readonly string[]): string[] {
  const [toldSet, thereSet] = [new Set(told), new Set(there)]
  const lost = told.filter(id => !thereSet.has(id))
  const unknown = there.filter(id => !toldSet.has(id))
  const twice = there.length - thereSet.size
  return [
    ...lost.length > 0 ? [`${lost.length} reservations are ${what} to their drivers and not in the ledger, such as ${lost[0]}`] : [],
    ...unknown.length > 0 ? [`${unknown.length} reservations are ${what} in the ledger and not to their drivers, such as ${unknown[0]}`] : [],
    ...twice > 0 ? [`${twice} reservations are in the ledger twice`] : []
  ]
}

async function lotRows (cluster: RunningCluster): Promise<LotRow[]> {
  return await cluster.query<LotRow>('select id, counted::int as counted, held::int as held, version::int as version from lots order by id')
}

/** Waits for the retained topics of a node to be what the ledger has, and says which are not. */
async function whatIsShownWrong (node: string, lots: readonly LotRow[]): Promise<string[]> {
  const client = await admittedTo(node)
  try {
    const shown = new Map<string, string>()
    client.on('message', (topic, payload) => shown.set(topic, payload.toString()))
    await client.subscribeAsync('lots/#', { qos: 1 })
    const differing = (): string[] => lots.flatMap(({ id, counted, held, version }) => {
      const capacity = CAPACITIES.get(id) ?? 0
      const free = String(Math.max(0, capacity - Math.min(Math.max(counted, 0), capacity) - held))
      const state = JSON.parse(shown.get(`lots/${id}/state`) ?? '{}') as { version?: number }
      return [
        ...shown.get(`lots/${id}/free`) === free ? [] : [`${node} shows ${shown.get(`lots/${id}/free`)} free of ${id}; it is ${free} by the ledger`],
        ...state.version === version ? [] : [`${node} shows version ${state.version} of ${id}; the ledger has ${version}`]
      ]
    })
    const untilMs = performance.now() + SHOWN_WITHIN_MS
    while (differing().length > 0 && performance.now() < untilMs) await new Promise(resolve => setTimeout(resolve, 20))
    return differing()
  } finally {
    await endMqtt(client)
  }
}

/** A node that was cut off lets nobody in before it shows what the others did. */
async function admittedTo (node: string): Promise<MqttClient> {
  const untilMs = performance.now() + SHOWN_WITHIN_MS
  for (;;) {
    try {
      return await connectMqtt(node)
    } catch (error) {
      if (!(error instanceof UnreachableError) || performance.now() > untilMs) throw error
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  }
}
