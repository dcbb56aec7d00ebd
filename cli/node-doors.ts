// What a node of several does for its clients: it tells them on `cluster/nodes` where the nodes are, and while its own database is away it
// sends them there and lets nobody in. Its retained topics may be old then, and it could acknowledge nothing.
import type { EmbeddedBroker } from '../broker/index.js'
import type { OccupancyService } from '../services/occupancy/service.js'
import type { Log } from '../shared/log.js'
import type { NodeAddress } from '../shared/nodes.js'
import { topics } from '../shared/topics.js'
import type { LedgerNodes } from '../storage/nodes.js'

const AWAY = 'this node has lost its database; use another server, or come back in a while'

export interface DoorParts {
  readonly nodes: Pick<LedgerNodes, 'watch'>
  readonly broker: Pick<EmbeddedBroker, 'bus' | 'sendAway' | 'letIn'>
  readonly occupancy: Pick<OccupancyService, 'settled'>
  readonly log: Log
}

/** Resolves with how to stop it when `cluster/nodes` is published. */
export async function keepDoors ({ nodes, broker, occupancy, log }: DoorParts): Promise<() => void> {
  /** Counts the losses: one may come while what was missed is still being published. */
  let losses = 0
  const publish = async (list: readonly NodeAddress[]): Promise<void> => (
    await broker.bus.publish(topics.nodes(), JSON.stringify(list), { qos: 1, retain: true, properties: { contentType: 'application/json', payloadFormatIndicator: 1 } })
  )
  let published: Promise<void> = Promise.resolve()
  const stop = nodes.watch({
    onNodes: list => {
      published = publish(list)
      published.catch((err: unknown) => log.error({ err }, 'the list of nodes could not be published'))
    },
    onLost: () => {
      losses++
      log.warn('the database has not answered for 2 s: clients are sent to other nodes, and none is let in until it does')
      broker.sendAway(AWAY)
    },
    onBack: () => {
      const loss = losses
      occupancy.settled().then(() => {
        if (loss !== losses) return
        broker.letIn()
        log.info('the database answers again, and all that changed meanwhile is published: clients are let in')
      }, (err: unknown) => log.error({ err }, 'what changed meanwhile could not be published; clients are not let in'))
    }
  })
  await published
  return stop
}
