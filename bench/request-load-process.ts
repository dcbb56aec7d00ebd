// The process that makes the requests of a bench, apart from whatever answers them. Started by `RequestGenerator`.
import { answer } from './child.js'
import { runLoad } from './request-load.js'
import type { GeneratorRequests } from './request-generator.js'

let live = { answered: 0 }

answer<GeneratorRequests>({
  run: async parts => {
    live = { answered: 0 }
    return await runLoad(parts, live)
  },
  answered: () => live.answered
})
