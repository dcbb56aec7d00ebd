// Whether anybody subscribes to a topic, live or in a stored session. Publishing through aedes costs far more than this
// question, and most sensor messages interest only the service, which has them already.
import type { AedesBroker } from './aedes-internals.js'

/** Topics that are remembered until the next change of any subscription. */
const MAX_TOPICS = 20_000

export class Subscribers {
  readonly #aedes: AedesBroker
  #known = new Map<string, boolean>()
  #generation = 0

  constructor (aedes: AedesBroker) {
    this.#aedes = aedes
    const changed = (): void => this.changed()
    // Each is emitted in the turn in which the subscription begins to count; restored ones come with `client`.
    aedes.on('subscribe', changed)
    aedes.on('client', changed)
    aedes.on('unsubscribe', changed)
    aedes.on('clientDisconnect', changed)
  }

  /** False only when it is certain that nobody subscribes to `topic`. The first answer for a topic is always true. */
  mayWant (topic: string): boolean {
    const known = this.#known.get(topic)
    if (known !== undefined) return known
    if (this.#known.size >= MAX_TOPICS) this.#known.clear()
    this.#known.set(topic, true)
    if (this.#aedes.mq._matcher.match(topic).length === 0) void this.#askStored(topic, this.#generation)
    return true
  }

  /** Some subscription came or went: nothing is certain any more. */
  changed (): void {
    this.#generation++
    this.#known.clear()
  }

  async #askStored (topic: string, generation: number): Promise<void> {
    try {
      const stored = await this.#aedes.persistence.subscriptionsByTopic(topic)
      if (stored.length === 0 && generation === this.#generation) this.#known.set(topic, false)
    } catch {
      // Not certain, so the topic stays wanted; aedes reports the same failure when it publishes.
    }
  }
}
