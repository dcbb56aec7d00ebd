// Keeps aedes' emitter from ending the process. It hands on the next waiting message from inside the last one; when
// nobody subscribes to any of a few thousand waiting messages, for example because the slow subscriber that they waited
// for is gone, that is a call within a call a few thousand times: a stack overflow that nobody catches.
// It never changes the order: aedes takes a message that comes after a later one for a duplicate and drops it.
import type { AedesBroker } from './aedes-internals.js'

/** Messages that may be handed on within each other. */
const MAX_DEPTH = 50
/** Messages that are handed on before the event loop turns. */
const AT_ONCE = 500

/** To be called once, before anything is published. */
export function limitEmitterDepth ({ mq }: AedesBroker): void {
  const emitNow = mq._do.bind(mq)
  let waiting: Parameters<typeof mq._do>[] = []
  let depth = 0
  const goOn = (): void => {
    let at = 0
    // Those handed on from inside line up behind the others, because some are waiting until the end.
    for (; at < waiting.length && at < AT_ONCE; at++) {
      const next = waiting[at]
      mq.current--
      if (next) emitNow(...next)
    }
    waiting = waiting.slice(at)
    if (waiting.length > 0) setImmediate(goOn)
  }
  const emit: typeof mq._do = (message, done) => {
    if (depth >= MAX_DEPTH || waiting.length > 0) {
      // It counts as one on its way, or a message after it would not wait for its turn.
      mq.current++
      if (waiting.push([message, done]) === 1) setImmediate(goOn)
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
