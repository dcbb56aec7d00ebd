// Keeps aedes' emitter from ending the process. It hands on the next waiting message from inside the last one; when
// nobody subscribes to any of a few thousand waiting messages, for example because the slow subscriber that they waited
// for is gone, that is a call within a call a few thousand times: a stack overflow that nobody catches.
import type { AedesBroker } from './aedes-internals.js'

/** Messages that may be handed on within each other. */
const MAX_DEPTH = 50

/** To be called once, before anything is published. */
export function limitEmitterDepth ({ mq }: AedesBroker): void {
  const emitNow = mq._do.bind(mq)
  let depth = 0
  const emit: typeof mq._do = (message, done) => {
    if (depth >= MAX_DEPTH) {
      setImmediate(emit, message, done)
      return mq
    }
    depth++
    try {
      return emitNow(message, done)
    } finally {
      depth--
    }
  }
  mq._do = emit
}
