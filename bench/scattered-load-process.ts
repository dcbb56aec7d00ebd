// The process of scattered sensor messages and of idle connections. Started by `ScatteredGenerator`.
import { answer } from './child.js'
import { IdleClients } from './idle-clients.js'
import type { ScatteredRequests } from './scattered-generator.js'
import { ScatteredLoad } from './scattered-load.js'

const loads = new Map<string, ScatteredLoad>()
const idle = new Map<string, IdleClients>()

answer<ScatteredRequests>({
  make: async ({ name, parts }) => {
    const load = new ScatteredLoad(parts)
    await load.connect()
    loads.set(name, load)
  },
  run: async ({ name, messages }) => {
    const load = loads.get(name)
    if (load === undefined) throw new Error(`there is no load ${name}`)
    return await load.run(messages)
  },
  idle: async ({ name, ports, filter, count }) => {
    let clients = idle.get(name)
    if (clients === undefined) idle.set(name, clients = new IdleClients())
    await clients.grow(ports, filter, count)
    return clients.closed
  }
})
