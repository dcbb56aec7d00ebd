// Reads the broker's own counts from $SYS/broker/..., to see that nothing is left when every fuzzing client has gone:
// sessions, subscriptions, messages. A broker without them is told apart from one whose counts do not fall.
import { Client } from './client.js'
import { packed, string, uint16 } from './drafts.js'
import type { Announced } from './judge.js'
import { randomOf } from './life.js'
import { plainConnect } from './packets.js'
import type { Ports } from './peer.js'

/** Counts that must be in the end what they were in the beginning; mosquitto's names. */
const NAMES = ['clients/total', 'subscriptions/count', 'store/messages/count', 'retained messages/count']
const CLOCK = 'uptime'
const PREFIX = '$SYS/broker/'
/** A broker that says nothing new for so long has no such counts, in milliseconds. */
const PATIENCE_MS = 25_000

export class SysWatch {
  readonly #values = new Map<string, string>()
  #client!: Client
  #rounds = 0

  static async start (ports: Ports, announced: Announced): Promise<SysWatch> {
    const watch = new SysWatch()
    watch.#client = await Client.open({
      ports, announced, transport: 'tcp', habit: 'at once', random: randomOf(0, 0),
      onPublish: ({ topic, payload }) => {
        const name = topic.slice(PREFIX.length)
        if (name === CLOCK) watch.#rounds++
        watch.#values.set(name, payload.toString())
      }
    })
    watch.#client.say(plainConnect(4, 'watches-the-counts'))
    await watch.#client.until(() => watch.#client.isIn, () => 'CONNACK')
    watch.#client.say(packed({ first: 0x82, head: [uint16(1)], properties: null, tail: [string(`${PREFIX}#`), Buffer.from([0])] }))
    await watch.#client.settle()
    return watch
  }

  /** The counts after two more rounds, when what is true now has been said; empty when the broker says nothing. */
  async counts (): Promise<ReadonlyMap<string, string>> {
    const until = this.#rounds + 2
    const untilMs = performance.now() + PATIENCE_MS
    while (this.#rounds < until) {
      if (performance.now() > untilMs) return new Map()
      await new Promise(resolve => setTimeout(resolve, 100))
      this.#client.forget()
    }
    return new Map(NAMES.flatMap(name => this.#values.has(name) ? [[name, this.#valueOf(name)]] : []))
  }

  /** A count of messages has those of $SYS in it, of which some come only when there is something to tell. */
  #valueOf (name: string): string {
    const value = Number(this.#values.get(name))
    return String(name.includes('messages') ? value - this.#values.size : value)
  }

  close (): void {
    this.#client.destroy()
  }
}
