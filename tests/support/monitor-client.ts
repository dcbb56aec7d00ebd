// A client that monitors lots: what comes on its Response Topic is kept by its correlation, in the order in which it came.
import { randomBytes } from 'node:crypto'
import type { MqttClient } from 'mqtt'
import { onTestFinished } from 'vitest'
import { connectMqtt, endMqtt, responseBaseOf, type ConnectOptions } from '../../shared/mqtt-client.js'
import type { MonitorMessage } from '../../shared/schemas.js'

export type Said = Partial<MonitorMessage> & { readonly error?: string, readonly message?: string, readonly ended?: boolean, readonly free?: number, readonly why?: string, readonly until?: string }

interface Come { readonly correlation: string, readonly said: Said }

const PATIENCE_MS = 10_000

export class MonitorClient {
  readonly mqtt: MqttClient
  readonly topic: string
  readonly come: Come[] = []
  readonly #waiting = new Set<() => void>()

  private constructor (mqtt: MqttClient, topic: string) {
    this.mqtt = mqtt
    this.topic = topic
    mqtt.on('message', (on, payload, packet) => {
      if (on !== topic) return
      const { ok, result, error, correlation } = JSON.parse(payload.toString()) as { ok: boolean, result: Said, error: { code: string, message: string }, correlation?: string }
      this.come.push({ correlation: packet.properties?.correlationData?.toString() ?? correlation ?? '', said: ok ? result : { error: error.code, message: error.message } })
      for (const look of this.#waiting) look()
    })
  }

  static async connected (url: string, options: ConnectOptions & { topic?: string } = {}): Promise<MonitorClient> {
    const mqtt = await connectMqtt(url, options)
    onTestFinished(() => endMqtt(mqtt))
    const client = new MonitorClient(mqtt, options.topic ?? `${responseBaseOf(mqtt)}/monitors`)
    await mqtt.subscribeAsync(client.topic, { qos: 1 })
    return client
  }

  /** Sends a request and resolves with its reply. */
  async ask (method: string, body: object, correlation: string = randomBytes(6).toString('hex')): Promise<Said> {
    const before = this.said(correlation).length
    const v5 = this.mqtt.options.protocolVersion === 5
    const properties = { responseTopic: this.topic, correlationData: Buffer.from(correlation) }
    this.mqtt.publish(`requests/${method}`, JSON.stringify(v5 ? body : { ...body, replyTo: this.topic, correlation }), { qos: 1, ...(v5 && { properties }) }, () => {})
    return await this.until(correlation, before + 1)
  }

  /** Begins a monitor of a lot; its messages are `said(correlation)`. */
  async monitor (lot: string, forSeconds: number, correlation: string): Promise<Said> {
    return await this.ask('monitor', { lot, forSeconds }, correlation)
  }

  said (correlation: string): Said[] {
    return this.come.filter(one => one.correlation === correlation).map(one => one.said)
  }

  /** Resolves with the message with this number, counted from 1. */
  async until (correlation: string, count: number): Promise<Said> {
    await this.when(() => this.said(correlation).length >= count, `message ${count} of ${correlation}`)
    return this.said(correlation)[count - 1] as Said
  }

  /** Resolves with the first message that fits. */
  async first (correlation: string, fits: (said: Said) => boolean): Promise<Said> {
    await this.when(() => this.said(correlation).some(fits), `what is waited for from ${correlation}`)
    return this.said(correlation).find(fits) as Said
  }

  async end (correlation: string): Promise<Said> {
    return await this.first(correlation, ({ monitor }) => monitor === 'end')
  }

  async when (holds: () => boolean, what: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(look)
        reject(new Error(`${what} did not come; came ${JSON.stringify(this.come.slice(-20))}`))
      }, PATIENCE_MS)
      const look = (): void => {
        if (!holds()) return
        clearTimeout(timer)
        this.#waiting.delete(look)
        resolve()
      }
      this.#waiting.add(look)
      look()
    })
  }
}
