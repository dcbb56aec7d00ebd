// Sensors that count a car in every few milliseconds, move to another node when theirs is lost, and note how long they were without an
// acknowledgement.
import type { MqttClient } from 'mqtt'
import { connectMqtt, endMqtt } from '../../shared/mqtt-client.js'

/** Until what MQTT.js gave up is published again. */
const AGAIN_MS = 20
/** The window in which duplicates are known has 64 places. */
const MOST_OPEN = 60

export interface SensorParts {
  readonly urls: readonly string[]
  readonly name: string
  readonly lot: string
  readonly home: number
  /** Milliseconds from one message to the next. */
  readonly everyMs: number
}

export class ClusterSensor {
  readonly lot: string
  /** The number of the node that it began at, from 0. */
  readonly home: number
  readonly #client: MqttClient
  readonly #name: string
  readonly #timer: NodeJS.Timeout
  #open = 0
  #lastMs = performance.now()
  #longestMs = 0
  sent = 0
  acknowledged = 0
  /** Why a message was published again by us. */
  lastError: string | null = null
  #isEnded = false

  private constructor (client: MqttClient, { name, lot, home, everyMs }: SensorParts) {
    this.#client = client
    this.#name = name
    this.lot = lot
    this.home = home
    this.#timer = setInterval(() => this.#send(), everyMs)
  }

  static async start (parts: SensorParts): Promise<ClusterSensor> {
    const { urls, name } = parts
    const client = await connectMqtt(urls.join(','), { reconnect: true, clientId: name })
    client.on('error', () => { /* A try in vain; what counts is the acknowledgement. */ })
    return new ClusterSensor(client, parts)
  }

  #send (): void {
    if (this.#open >= MOST_OPEN) return
    this.#open++
    this.#publish(JSON.stringify({ sensor: this.#name, epoch: 1, seq: ++this.sent, delta: 1 }))
  }

  /** Until it is acknowledged. MQTT.js gives up what is published while it sends older messages again, when that connection ends too. */
  #publish (payload: string): void {
    this.#client.publish(`lots/${this.lot}/sensor`, payload, { qos: 1 }, error => {
      if (error) {
        this.lastError = error.message
        if (!this.#isEnded) setTimeout(() => this.#publish(payload), AGAIN_MS)
        return
      }
      this.#open--
      this.acknowledged++
      this.#longestMs = this.longestGapMs()
      this.#lastMs = performance.now()
    })
  }

  /** From one acknowledgement to the next, or to now. */
  longestGapMs (): number { return Math.max(this.#longestMs, performance.now() - this.#lastMs) }
  /** Since the last acknowledgement. */
  silentMs (): number { return performance.now() - this.#lastMs }
  /** The gaps before are forgotten; the one of now goes on. */
  forgetGaps (): void { this.#longestMs = 0 }

  /** Sends no more and waits for what is open. */
  async finish (withinMs: number): Promise<void> {
    clearInterval(this.#timer)
    const untilMs = performance.now() + withinMs
    while (this.#open > 0 && performance.now() < untilMs) await new Promise(resolve => setTimeout(resolve, 20))
  }

  async end (): Promise<void> {
    this.#isEnded = true
    clearInterval(this.#timer)
    await endMqtt(this.#client)
  }
}
