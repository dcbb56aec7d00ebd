// Publishing over one connection of MQTT.js: in order, never more unacknowledged than the broker takes, and every publish ends, with
// an error where it is not known what became of it.
import type { IClientPublishOptions, MqttClient, Packet } from 'mqtt'
import { RefusedPublishError, type MessageProperties, type PublishOptions } from './bus.js'
import type { Clock } from './clock.js'
import { ERRORS, messageOf, type ErrorCode, type Refusal } from './errors.js'

/** Publishes that may wait while as many as the broker allows at once are unacknowledged. */
const MAX_WAITING_PUBLISHES = 100_000
/** What a PUBLISH needs besides topic, payload and the long properties, at most. */
const PACKET_OVERHEAD_BYTES = 1_024
/** How long `close` waits for open publishes. */
const IDLE_WITHIN_MS = 2_000

/** The broker did not accept a publish, or it is not known whether it did. */
export class PublishError extends Error {
  readonly code = 'not_published'
  constructor (topic: string, reason: string, options?: { cause: unknown }) {
    super(`not published on ${topic}: ${reason}`, options)
    this.name = 'PublishError'
  }
}

interface Waiting {
  readonly topic: string
  readonly payload: Buffer
  readonly options: IClientPublishOptions
  readonly done: (error?: Error) => void
}

/** Publishes in order, with at most as many unacknowledged as the broker allows [MQTT-3.3.4-9]; MQTT.js does not count. */
export class MqttPublisher {
  readonly #client: MqttClient
  readonly #waiting: Waiting[] = []
  #inflight = 0
  #idle: (() => void)[] = []

  constructor (client: MqttClient) {
    this.#client = client
  }

  async publish (topic: string, text: string | Uint8Array, { qos = 1, retain = false, properties }: PublishOptions): Promise<void> {
    const payload = typeof text === 'string' ? Buffer.from(text) : bufferOf(text)
    if (!this.#client.connected) throw new PublishError(topic, 'there is no connection to the broker; try again when it is back')
    if (this.#waiting.length >= MAX_WAITING_PUBLISHES) throw new PublishError(topic, `${MAX_WAITING_PUBLISHES} publishes wait already; send slower`)
    const bytes = Buffer.byteLength(topic) + payload.length + (properties?.correlationData?.length ?? 0) + Buffer.byteLength(properties?.responseTopic ?? '')
    const mostBytes = this.#client.serverProperties?.maximumPacketSize
    // The broker would close the connection.
    if (mostBytes !== undefined && bytes + PACKET_OVERHEAD_BYTES > mostBytes) throw new PublishError(topic, `${payload.length} bytes are more than the broker takes (${mostBytes} a packet)`)
    await new Promise<void>((resolve, reject) => {
      const done = (error?: Error): void => error ? reject(error instanceof PublishError || error instanceof RefusedPublishError ? error : new PublishError(topic, messageOf(error), { cause: error })) : resolve()
      this.#waiting.push({ topic, payload, done, options: { qos, retain, ...properties ? { properties: packetProperties(properties) } : {} } })
      this.#send()
    })
  }

  /** Fails everything unacknowledged, so that MQTT.js does not send it again: a publish that the broker answers by closing the connection would close the next ones too. */
  failAll (reason: string): void {
    for (const { topic, done } of this.#waiting.splice(0)) done(new PublishError(topic, reason))
    for (const [id, { cmd, cb }] of Object.entries(this.#client.outgoing)) {
      if (cmd !== 'publish') continue
      cb(new Error(reason))
      this.#client.removeOutgoingMessage(Number(id))
    }
  }

  /** Resolves when everything is acknowledged, at the latest after 2 s. */
  async idle (clock: Clock): Promise<void> {
    if (this.#inflight === 0) return
    await new Promise<void>(resolve => {
      const timer = clock.after(IDLE_WITHIN_MS, resolve)
      this.#idle.push(() => {
        timer.cancel()
        resolve()
      })
    })
  }

  #send (): void {
    const most = this.#client.serverProperties?.receiveMaximum ?? 65_535
    while (this.#inflight < most) {
      const next = this.#waiting.shift()
      if (next === undefined) break
      this.#inflight++
      let over = false
      this.#client.publish(next.topic, next.payload, next.options, (error, packet) => {
        // `failAll` calls it before MQTT.js does.
        if (over) return
        over = true
        this.#inflight--
        const refusal = error ? refusalIn(packet) : null
        next.done(refusal === null ? error : new RefusedPublishError(next.topic, refusal))
        this.#send()
      })
    }
    if (this.#inflight === 0) for (const resolve of this.#idle.splice(0)) resolve()
  }
}

/** What a service of parkmq says in a PUBACK that refuses; null for one of any other. */
function refusalIn (packet: Packet | undefined): Refusal | null {
  const words = packet?.cmd === 'puback' ? packet.properties?.reasonString : undefined
  const [, code = '', message = ''] = /^([a-z_]+): ([^]*)$/.exec(words ?? '') ?? []
  return Object.hasOwn(ERRORS, code) ? { code: code as ErrorCode, message } : null
}

/** MQTT.js takes Buffers only; this one shares the memory. */
function bufferOf (bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function packetProperties ({ correlationData, payloadFormatIndicator, userProperties, ...same }: MessageProperties): NonNullable<IClientPublishOptions['properties']> {
  return {
    ...same,
    ...correlationData === undefined ? {} : { correlationData: bufferOf(correlationData) },
    ...payloadFormatIndicator === undefined ? {} : { payloadFormatIndicator: payloadFormatIndicator === 1 },
    ...userProperties === undefined ? {} : { userProperties: copyOf(userProperties) }
  }
}

function copyOf (userProperties: NonNullable<MessageProperties['userProperties']>): Record<string, string | string[]> {
  return Object.fromEntries(Object.entries(userProperties).map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]))
}
