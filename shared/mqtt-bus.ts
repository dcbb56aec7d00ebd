// The Bus over an external MQTT 5 broker (mosquitto, EMQX, HiveMQ), through MQTT.js: one connection that publishes, one
// for each consumer, so that a consumer that closes its connection disturbs nobody else. The broker in between has
// acknowledged to the sender already: here PUBACK means that the broker need not keep the message for us any more.
import type { IClientPublishOptions, MqttClient, Packet } from 'mqtt'
import { RefusedPublishError, type Bus, type MessageProperties, type PublishOptions } from './bus.js'
import type { Clock } from './clock.js'
import { ERRORS, messageOf, OperatorError, type ErrorCode, type Refusal } from './errors.js'
import type { Log } from './log.js'
import { shownUrl } from './broker-urls.js'
import { connectMqtt, endMqtt, logTroubles, type Will } from './mqtt-client.js'
import type { ClientTls } from './mqtt-tls.js'
import { openMqttConsumer, type MqttConsumer } from './mqtt-consumer.js'
import type { Metrics } from './metrics.js'

const DEFAULT_MAX_INFLIGHT = 1_000
const SESSION_EXPIRY_SECONDS = 7 * 24 * 3_600
/** Publishes that may wait while as many as the broker allows at once are unacknowledged. */
const MAX_WAITING_PUBLISHES = 100_000
/** What a PUBLISH needs besides topic, payload and the long properties, at most. */
const PACKET_OVERHEAD_BYTES = 1_024
/** How long `close` waits for open publishes. */
const IDLE_WITHIN_MS = 2_000

export interface MqttBusParts {
  /** `mqtt://`, `ws://`, `mqtts://` or `wss://`, with `user:password@` where the broker has users. */
  readonly url: string
  /** For `mqtts://` and `wss://`. */
  readonly tls?: ClientTls
  /** The same at every start and no other client's: the sessions of the consumers hang on it. */
  readonly clientId: string
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  /**
   * Most deliveries of one consumer that are handed over and not yet acknowledged (Receive Maximum); default 1,000. The
   * broker's own limit also holds: mosquitto's `max_inflight_messages` is 20 unless set, and caps the batches.
   */
  readonly maxInflight?: number
  /** How long the broker keeps messages for consumers that are away, in seconds; default 7 days. */
  readonly sessionExpirySeconds?: number
  /**
   * What the broker publishes when the publishing connection is lost. When it is made again, what was last published on
   * the will's topic is published again, so that a service that was only cut off does not stay `offline`.
   */
  readonly will?: Will
}

export interface MqttBus {
  readonly bus: Bus
  /** Finishes what has arrived, disconnects, and fails what is still unpublished. Safe to call twice. */
  readonly close: () => Promise<void>
}

/** The broker did not accept a publish, or it is not known whether it did. */
export class PublishError extends Error {
  readonly code = 'not_published'
  constructor (topic: string, reason: string, options?: { cause: unknown }) {
    super(`not published on ${topic}: ${reason}`, options)
    this.name = 'PublishError'
  }
}

/**
 * Connects to the broker; lost connections are made again every second. Each `consume` opens a connection of its own with
 * the client id `{clientId}-{filter}` (`lots/+/sensor` is `-lots-any-sensor`).
 * `publish` throws `PublishError` while there is no connection, when it is lost before PUBACK, and when the broker refuses;
 * `RefusedPublishError` when that is a parkmq whose service refuses.
 * Throws `UnreachableError`, and `OperatorError` (`bad_broker`) when the broker cannot do what parkmq needs.
 */
export async function connectMqttBus (parts: MqttBusParts): Promise<MqttBus> {
  const { url, clientId, clock, log, metrics, maxInflight = DEFAULT_MAX_INFLIGHT, sessionExpirySeconds = SESSION_EXPIRY_SECONDS } = parts
  const client = await connectMqtt(url, { clientId, reconnect: true, ...parts.tls && { tls: parts.tls }, ...parts.will && { will: parts.will } })
  const publisher = new Publisher(client)
  let closing: Promise<void> | null = null
  client.on('close', () => publisher.failAll('the connection to the broker was lost before it acknowledged'))
  logTroubles(client, url, clientId, log)
  const consumers = new Map<string, Promise<MqttConsumer>>()
  let status: Status | null = null
  client.on('connect', () => {
    if (status === null) return
    // A failure means that the connection is lost again, and then it is said again.
    publisher.publish(status.topic, status.payload, status.options).catch((err: unknown) => log.warn({ err }, 'the status could not be published again'))
  })

  const closeAll = async (): Promise<void> => {
    const opened = await Promise.allSettled(consumers.values())
    // Consumers first: their last effects still need the publishing connection.
    await Promise.all(opened.map(async consumer => { if (consumer.status === 'fulfilled') await consumer.value.close() }))
    await publisher.idle(clock)
    await endMqtt(client)
    publisher.failAll('the bus was closed')
  }

  const close = (): Promise<void> => closing ??= closeAll()

  try {
    checkBroker(client, url)
  } catch (error) {
    await close()
    throw error
  }

  return {
    bus: {
      async consume (filter, consumer) {
        if (closing !== null) throw new Error(`cannot consume ${filter}: the bus is closed`)
        if (consumers.has(filter)) throw new Error(`${filter} has a consumer already`)
        const session = `${clientId}-${sessionName(filter)}`
        const opened = openMqttConsumer({ url, ...parts.tls && { tls: parts.tls }, clientId: session, filter, consumer, clock, log, metrics, maxInflight, sessionExpirySeconds })
        consumers.set(filter, opened)
        try {
          await opened
        } catch (error) {
          consumers.delete(filter)
          throw error
        }
      },
      async publish (topic, payload, options = {}) {
        const bytes = typeof payload === 'string' ? Buffer.from(payload) : bufferOf(payload)
        if (topic === parts.will?.topic) status = { topic, payload: bytes, options }
        await publisher.publish(topic, bytes, options)
      }
    },
    close
  }
}

function checkBroker (client: MqttClient, url: string): void {
  const { maximumQoS, retainAvailable } = client.serverProperties ?? {}
  const lacks = maximumQoS === 0 ? 'QoS 1' : retainAvailable === false ? 'retained messages' : null
  if (lacks !== null) throw new OperatorError('bad_broker', `the broker at ${shownUrl(url)} has no ${lacks}, which parkmq needs: use another broker or change its settings`)
}

/** The filter as the end of a client id: letters, digits and hyphens only, which every broker takes. */
function sessionName (filter: string): string {
  return filter.replaceAll('+', 'any').replaceAll('#', 'all').replace(/[^A-Za-z0-9]+/g, '-')
}

/** What was last published on the will's topic. */
interface Status {
  readonly topic: string
  readonly payload: Buffer
  readonly options: PublishOptions
}

interface Waiting {
  readonly topic: string
  readonly payload: Buffer
  readonly options: IClientPublishOptions
  readonly done: (error?: Error) => void
}

/** Publishes in order, with at most as many unacknowledged as the broker allows [MQTT-3.3.4-9]; MQTT.js does not count. */
class Publisher {
  readonly #client: MqttClient
  readonly #waiting: Waiting[] = []
  #inflight = 0
  #idle: (() => void)[] = []

  constructor (client: MqttClient) {
    this.#client = client
  }

  async publish (topic: string, payload: Buffer, { qos = 1, retain = false, properties }: PublishOptions): Promise<void> {
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
