// Keeps messages in the order in which they were published. aedes numbers a message when it is published, hands it on
// after as many turns of promises as its QoS and RETAIN need, and drops for a duplicate what comes to a client behind a
// higher number: a retained message published just before another one was lost to whoever subscribes to both.
import type { AedesBroker, Done } from './aedes-internals.js'

/** A published message until it is handed on. */
interface Place {
  /** Hands it on; null while aedes is still storing it. */
  go: (() => void) | null
  /** It will not be handed on: storing it failed. */
  over: boolean
}

/** To be called once, before anything is published. */
export function keepOrder (aedes: AedesBroker): void {
  const publish = aedes.publish.bind(aedes)
  const emit = aedes.mq.emit.bind(aedes.mq)
  const places = new Map<number, Place>()
  let line: Place[] = []
  let first = 0

  const goOn = (): void => {
    for (;;) {
      const place = line[first]
      if (place === undefined || (place.go === null && !place.over)) break
      first++
      place.go?.()
    }
    // Given back when the line is empty, or now and then on the way.
    if (first === line.length) {
      line = []
      first = 0
    } else if (first > 1_000) {
      line = line.slice(first)
      first = 0
    }
  }

  const inOrder = (packet: object, client: Parameters<typeof publish>[1], done: Done): void => {
    const number = aedes.counter + 1
    const place: Place = { go: null, over: false }
    places.set(number, place)
    line.push(place)
    const leave = (): void => {
      if (!places.delete(number)) return
      place.over = true
      goOn()
    }
    publish(packet, client, error => {
      // Without an error it was handed on already.
      if (error) leave()
      done(error)
    })
    // It was not even numbered: its topic is not one.
    if (aedes.counter < number) leave()
  }
  aedes.publish = (packet, client: Parameters<typeof publish>[1] | Done, done?: Done) => {
    // aedes itself leaves the client out.
    if (typeof client === 'function') inOrder(packet, null, client)
    else inOrder(packet, client, done ?? (() => {}))
  }

  aedes.mq.emit = (message, done) => {
    const place = message.brokerId === aedes.id && message.brokerCounter !== undefined ? places.get(message.brokerCounter) : undefined
    if (place === undefined) return emit(message, done)
    places.delete(message.brokerCounter ?? 0)
    place.go = () => { emit(message, done) }
    goOn()
    return aedes.mq
  }
}
