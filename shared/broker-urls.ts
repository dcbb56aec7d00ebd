// The brokers that a client may use, and in which order it tries them: those that it was given, then the nodes of which it has heard on
// `cluster/nodes`. The one place that knows what a list of URLs is.
import { randomInt } from 'node:crypto'
import type { MqttClient } from 'mqtt'
import { OperatorError } from './errors.js'
import { parseNodes, type NodeAddress } from './nodes.js'
import { topics } from './topics.js'

const PROTOCOLS = new Set(['mqtt:', 'mqtts:', 'ws:', 'wss:'])
/** Rest before the next of several is tried, in milliseconds; more by chance, so that a node's clients do not all come at once. */
const MOVE_MS = { least: 10, most: 60 }
/** The same when none of them let the client in. */
const ROUND_MS = { least: 400, most: 800 }
/** Rest where there is one broker only. */
const AGAIN_MS = 1_000

export class BrokerUrls {
  /** At least one. */
  readonly given: readonly string[]
  #learnt: readonly string[] = []
  #current: string
  /** Tries since the last connection. */
  #tries = 0

  /** Of URLs with commas between them. Throws `OperatorError` (`bad_url`). */
  constructor (text: string) {
    // A password may have a comma in it.
    this.given = text.split(/,(?=\s*[a-z]+:\/\/)/i).map(url => url.trim())
    for (const url of this.given) check(url)
    this.#current = this.given[0] ?? text
  }

  get current (): string { return this.#current }
  get all (): readonly string[] { return [...this.given, ...this.#learnt] }
  get isSingle (): boolean { return this.#learnt.length === 0 && this.given.length === 1 }

  /** Goes on to the next one, which is tried now. */
  next (): string {
    const { all } = this
    this.#tries++
    return this.#current = all[(all.indexOf(this.#current) + 1) % all.length] ?? this.#current
  }

  /** The current one has let the client in. */
  connected (): void {
    this.#tries = 0
  }

  /** How long to wait before `next`, in milliseconds. */
  restMs (): number {
    if (this.isSingle) return AGAIN_MS
    const isRoundOver = this.#tries > 0 && this.#tries % this.all.length === 0
    const { least, most } = isRoundOver ? ROUND_MS : MOVE_MS
    return randomInt(least, most)
  }

  /** Takes over the nodes that there are. Only URLs of a kind that was given: who came with TLS does not go on without. */
  learn (nodes: readonly NodeAddress[]): void {
    const kinds = new Set(this.given.map(url => new URL(url).protocol))
    const known = new Set(this.given.map(placeOf))
    const urls = nodes.flatMap(({ urls }) => urls).filter(url => kinds.has(new URL(url).protocol) && !known.has(placeOf(url)))
    // Each client begins with another one, or all that lose a node would go to the same.
    const first = urls.length === 0 ? 0 : randomInt(urls.length)
    this.#learnt = [...urls.slice(first), ...urls.slice(0, first)]
  }
}

/** From now on the nodes that the broker tells of are known. A broker that does not tell, or not to this client, changes nothing. */
export function learnNodes (client: MqttClient, urls: BrokerUrls, onLearnt: () => void = () => {}): void {
  client.on('message', (topic, payload) => {
    if (topic !== topics.nodes()) return
    const nodes = parseNodes(payload.toString())
    if (nodes === null) return
    urls.learn(nodes)
    onLearnt()
  })
  client.subscribe(topics.nodes(), { qos: 1 }, () => { /* It is not needed. */ })
}

/** The URL without the password, for messages and logs; also of a list. */
export function shownUrl (url: string): string {
  return url.replace(/\/\/[^@/]*@/g, '//')
}

/** Where it is, whoever comes. */
function placeOf (url: string): string {
  const { protocol, host, pathname } = new URL(url)
  return `${protocol}//${host}${pathname.replace(/\/$/, '')}`
}

function check (url: string): void {
  if (!URL.canParse(url) || !PROTOCOLS.has(new URL(url).protocol) || new URL(url).host.includes(',')) {
    throw new OperatorError('bad_url', `${shownUrl(url)} is not the URL of a broker: write mqtt://host:port, mqtts://, ws:// or wss://, and commas between several`)
  }
}
