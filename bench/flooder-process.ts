// The process of a client that floods a broker until it is told to stop. Started by the scenario `flood`.
import { answer } from './child.js'
import { machineMs } from './clock.js'
import { Publisher, type PublisherParts } from './publisher.js'
import type { FloodRequests } from './flood.js'

let publisher: Publisher | null = null

answer<FloodRequests>({
  connect: async (parts: PublisherParts) => {
    publisher = await Publisher.connect(parts)
  },
  flood: async ({ seconds, window }) => {
    if (publisher === null) throw new Error('not connected')
    return await publisher.send({ messages: 0xffffffff, window, untilMs: machineMs() + seconds * 1_000 })
  }
})
