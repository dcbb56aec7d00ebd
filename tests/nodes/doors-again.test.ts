// The database of a node is lost again while what was missed is still being published: the doors stay shut until that is told as well.
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { keepDoors } from '../../cli/node-doors.js'
import { connectMqtt, endMqtt } from '../../shared/mqtt-client.js'
import type { LedgerNodes, NodesWatcher } from '../../storage/nodes.js'
import { startBroker } from '../support/broker.js'

/** What the ledger and the occupancy service tell, as the test says. */
function scene () {
  let watcher: NodesWatcher | null = null
  const publishing: (() => void)[] = []
  const nodes: Pick<LedgerNodes, 'watch'> = {
    watch: given => {
      watcher = given
      given.onNodes([])
      return () => {}
    }
  }
  const occupancy = { settled: async () => await new Promise<void>(resolve => publishing.push(resolve)) }
  return { nodes, occupancy, publishing, watcher: () => watcher as NodesWatcher }
}

test('a loss while the last one is made good keeps the doors shut', async () => {
  const broker = await startBroker()
  const { nodes, occupancy, publishing, watcher } = scene()
  await keepDoors({ nodes, occupancy, broker, log: pino({ enabled: false }) })
  const url = `mqtt://127.0.0.1:${broker.port}`
  const isLetIn = async (): Promise<boolean> => await connectMqtt(url).then(async client => {
    await endMqtt(client)
    return true
  }, () => false)
  expect(await isLetIn()).toBe(true)
  watcher().onLost()
  watcher().onBack()
  watcher().onLost()
  publishing[0]?.()
  expect(await isLetIn()).toBe(false)
  watcher().onBack()
  expect(await isLetIn()).toBe(false)
  publishing[1]?.()
  expect(await isLetIn()).toBe(true)
})
