// The process of sensors and of those who hear of them, apart from the broker and from whoever makes requests. Started by
// `GateGenerator`.
import { answer } from './child.js'
import type { GateRequests } from './gate-generator.js'
import { GateLoad } from './gate-load.js'

const loads = new Map<string, GateLoad>()

function known (name: string): GateLoad {
  const load = loads.get(name)
  if (load === undefined) throw new Error(`there are no gates ${name}`)
  return load
}

answer<GateRequests>({
  make: ({ name, parts }) => { loads.set(name, new GateLoad(parts)) },
  connect: async ({ name, gates }) => { await known(name).connect(gates) },
  run: async ({ name, pace }) => await known(name).run(pace),
  disconnect: ({ name }) => { known(name).disconnect() }
})
