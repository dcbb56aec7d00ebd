// An embedded broker in a process of its own whose service answers every sensor message with an event, because no client
// may publish what displays may read. Started by the scenario `access`.
import { pino } from 'pino'
import { createEmbeddedBroker, type EmbeddedBroker } from '../broker/index.js'
import { openUsers } from '../broker/users.js'
import { ACCEPTED } from '../shared/bus.js'
import { systemClock } from '../shared/clock.js'
import { Config } from '../shared/config.js'
import { createMetrics } from '../shared/metrics.js'
import { openBrokerStore } from '../storage/broker-store.js'
import type { AccessBrokerRequests } from './access.js'
import { answer } from './child.js'

answer<AccessBrokerRequests>({
  open: async ({ data, usersFile }) => {
    const log = pino({ level: 'warn' }, process.stderr)
    const metrics = createMetrics()
    const config = Config.parse({ port: 0, wsPort: 0 })
    const users = usersFile === null ? null : await openUsers({ file: usersFile, clock: systemClock, log, metrics })
    const broker: EmbeddedBroker = await createEmbeddedBroker({ config, clock: systemClock, log, metrics, store: await openBrokerStore(data), users })
    await broker.bus.consume('lots/+/sensor', {
      handle: async deliveries => {
        // The number in the payload is what the subscribers count by.
        for (const { payload } of deliveries) void broker.bus.publish('lots/LOT-A/events', payload)
        return deliveries.map(() => ACCEPTED)
      }
    })
    return { port: (await broker.listen()).port }
  },
  cpuMs: () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1_000
  }
})
