// The Bus over an external MQTT 5 broker (mosquitto, EMQX, HiveMQ), through MQTT.js: one connection that publishes, one
// for each consumer, so that a consumer that closes its connection disturbs nobody else. The broker in between has
// acknowledged to the sender already: here PUBACK means that the broker need not keep the message for us any more.
import type { MqttClient } from 'mqtt'
import type { Bus, PublishOptions } from './bus.js'
import type { Clock } from './clock.js'
import { OperatorError } from './errors.js'
import type { Log } from './log.js'
import { shownUrl } from './broker-urls.js'
import { connectMqtt, endMqtt, logTroubles, type Will } from './mqtt-client.js'
import type { ClientTls } from './mqtt-tls.js'
import { openMqttConsumer, type MqttConsumer } from './mqtt-consumer.js'
import { MqttPublisher } from './mqtt-publisher.js'
import type { Metrics } from './metrics.js'

const DEFAULT_MAX_INFLIGHT = 1_000
const SESSION_EXPIRY_SECONDS = 7 * 24 * 3_600

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
  /** Whether the publishing connection is there now. */
  readonly isConnected: () => boolean
  /** Finishes what has arrived, disconnects, and fails what is still unpublished. Safe to call twice. */
  readonly close: () => Promise<void>
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
  const publisher = new MqttPublisher(client)
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
        if (topic === parts.will?.topic) status = { topic, payload, options }
        await publisher.publish(topic, payload, options)
      }
    },
    isConnected: () => client.connected,
    close
  }
}

/** Throws `OperatorError` (`bad_broker`) when the broker cannot do what parkmq needs. */
export function checkBroker (client: MqttClient, url: string): void {
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
  readonly payload: string | Uint8Array
  readonly options: PublishOptions
}
