// A client that asks as a program would that cares for order: requests leave in the order in which they are made, over one
// connection, and each gets its reply, whether it was a repeat, and what comes after the reply on the same way.
import { randomBytes } from 'node:crypto'
import type { MqttClient } from 'mqtt'
import { onTestFinished } from 'vitest'
import { connectMqtt, endMqtt } from '../../shared/mqtt-client.js'

export interface Told {
  readonly ok: boolean
  /** The result; empty for a refusal. */
  readonly result: Record<string, unknown>
  /** The code of a refusal. */
  readonly error: string | null
  readonly message: string
  readonly replayed: boolean
  /** The payload as it came. */
  readonly text: string
}

/** How long one reply may take before the test says which one is missing. */
const PATIENCE_MS = 20_000

export class AskingClient {
  readonly mqtt: MqttClient
  readonly #topic: string
  /** Told null when the connection ends. */
  readonly #open = new Map<string, (told: Told | null) => void>()
  readonly #later: { correlation: string, told: Told }[] = []
  readonly #looking = new Set<() => void>()

  private constructor (mqtt: MqttClient) {
    this.mqtt = mqtt
    this.#topic = `replies/${mqtt.options.clientId ?? ''}/asking`
    mqtt.once('close', () => { for (const waiting of this.#open.values()) waiting(null) })
    mqtt.on('message', (topic, payload, { properties }) => {
      if (topic !== this.#topic) return
      const text = payload.toString()
      const said = JSON.parse(text) as { ok: boolean, result?: Record<string, unknown>, error?: { code: string, message: string } }
      const told: Told = {
        ok: said.ok, result: said.result ?? {}, error: said.error?.code ?? null, message: said.error?.message ?? '', text,
        replayed: (properties?.userProperties as Record<string, unknown> | undefined)?.replayed === 'true'
      }
      const correlation = properties?.correlationData?.toString('hex') ?? ''
      const waiting = this.#open.get(correlation)
      this.#open.delete(correlation)
      if (waiting) return waiting(told)
      this.#later.push({ correlation, told })
      for (const look of this.#looking) look()
    })
  }

  static async connect (url: string, clientId?: string): Promise<AskingClient> {
    const client = new AskingClient(await connectMqtt(url, clientId === undefined ? {} : { clientId }))
    onTestFinished(() => client.end())
    await client.mqtt.subscribeAsync(client.#topic, { qos: 1 })
    return client
  }

  /** Publishes a request at once, before it returns; the promise has its reply, or fails when none comes or the client is ended. */
  ask (method: string, body: object = {}, correlation = randomBytes(8).toString('hex')): Promise<Told> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no reply to ${method} ${JSON.stringify(body)}`)), PATIENCE_MS)
      this.#open.set(correlation, told => {
        clearTimeout(timer)
        if (told === null) reject(new Error(`the connection ended before the reply to ${method}`))
        else resolve(told)
      })
      const properties = { responseTopic: this.#topic, correlationData: Buffer.from(correlation, 'hex') }
      this.mqtt.publish(`requests/${method}`, JSON.stringify(body), { qos: 1, properties }, error => {
        if (!error) return
        clearTimeout(timer)
        reject(error)
      })
    })
  }

  /** The first message after the reply that came with this correlation and fits, past or to come. */
  async later (correlation: string, fits: (told: Told) => boolean): Promise<Told> {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#looking.delete(look)
        reject(new Error(`the expected message for ${correlation} did not come; there were: ${this.#later.map(({ told }) => told.text).join(' | ') || 'none'}`))
      }, PATIENCE_MS)
      const look = (): void => {
        const found = this.#later.find(message => message.correlation === correlation && fits(message.told))
        if (!found) return
        clearTimeout(timer)
        this.#looking.delete(look)
        resolve(found.told)
      }
      this.#looking.add(look)
      look()
    })
  }

  async publish (topic: string, payload: object): Promise<void> {
    await this.mqtt.publishAsync(topic, JSON.stringify(payload), { qos: 1 })
  }

  async end (): Promise<void> {
    await endMqtt(this.mqtt)
  }

  /** Ends as a client does whose broker has died. */
  drop (): void {
    this.mqtt.stream.destroy()
    this.mqtt.end(true)
  }
}
