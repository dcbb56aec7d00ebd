// What is counted, in one place, with Prometheus names. Every label has few values: methods, outcomes, reasons; never
// a client, a plate or a sensor.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'

const SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
const BATCH = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]

export type Metrics = ReturnType<typeof createMetrics>

/** All metrics of one process, on a registry of their own. */
export function createMetrics () {
  const registry = new Registry()
  const registers = [registry]
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) => new Counter<L>({ name: `parkmq_${name}`, help, labelNames, registers })
  return {
    registry,
    sensorMessages: counter('sensor_messages_total', 'Sensor messages by what became of them', ['outcome']),
    sensorGaps: counter('sensor_gap_messages_total', 'Sensor messages known to be missing'),
    driftCars: counter('recount_drift_cars_total', 'Sum of the absolute differences that recounts found, in cars'),
    cameraFrames: counter('camera_frames_total', 'Frames of cameras by what became of them: applied, dropped for a newer one, old, or an error code', ['outcome']),
    cameraSeconds: new Histogram({ name: 'parkmq_camera_frame_seconds', help: 'From arrival of a frame to the commit of its bays, in seconds', buckets: SECONDS, registers }),
    cameraUnsure: counter('camera_unsure_bays_total', 'Bays of which a frame was not sure enough'),
    requests: counter('requests_total', 'Requests by method and result code (ok or an error code)', ['method', 'code']),
    requestSeconds: new Histogram({ name: 'parkmq_request_seconds', help: 'From arrival of a request to its reply, in seconds', labelNames: ['method'] as const, buckets: SECONDS, registers }),
    refusedRequests: counter('requests_unanswered_total', 'Requests that name no usable Response Topic', ['code']),
    commitSeconds: new Histogram({ name: 'parkmq_commit_seconds', help: 'One transaction of the ledger, in seconds', labelNames: ['service'] as const, buckets: SECONDS, registers }),
    batchSize: new Histogram({ name: 'parkmq_batch_messages', help: 'Messages in one transaction', labelNames: ['service'] as const, buckets: BATCH, registers }),
    held: counter('messages_held_total', 'Tries in vain to store held messages while the ledger was unavailable, by messages', ['filter']),
    abandoned: counter('messages_abandoned_total', 'Messages left unacknowledged because the ledger stayed unavailable', ['filter']),
    poison: counter('messages_poison_total', 'Messages that failed every handling and were dropped', ['filter']),
    published: counter('published_total', 'Messages published by the services, by kind', ['kind']),
    publishFailures: counter('publish_failures_total', 'Publishes that the broker did not accept', ['kind']),
    shares: new Gauge({ name: 'parkmq_shares', help: 'Shares of the lots, and of the requests, that this process has of an external broker', registers }),
    shareChanges: counter('share_changes_total', 'Shares that this process has taken, given back, or lost to another', ['what']),
    monitors: new Gauge({ name: 'parkmq_monitors', help: 'Monitors of lots that are open now', registers }),
    clients: new Gauge({ name: 'parkmq_broker_clients', help: 'Clients connected now', registers }),
    malformed: counter('broker_malformed_packets_total', 'Malformed or forbidden packets by MQTT 5 reason code', ['reason']),
    overLimit: counter('broker_over_limit_total', 'Times that a client met a limit, by limit', ['limit']),
    denied: counter('broker_denied_publishes_total', 'Publishes, subscriptions, wills, client ids and requests that were not for their client'),
    connectionErrors: counter('broker_connection_errors_total', 'Connections that ended with an error'),
    logins: counter('logins_total', 'Log-ins by outcome: anonymous, password, certificate, bad_credentials, not_authorized, too_many, gone', ['outcome']),
    auditUnnamed: counter('audit_unnamed_total', 'Log-ins and refusals that the audit has only as a number, because there were too many different ones, by type', ['type']),
    auditLost: counter('audit_lost_total', 'Lines of log-ins and refusals that could not be written to the audit when parkmq stopped, or because of a fault'),
    userReloads: counter('users_reloads_total', 'Times that the users file had changed, by what became of it: taken, refused', ['outcome'])
  }
}

/** What the embedded broker tells of itself when it is asked. Counts are since its start. */
export interface BrokerNumbers {
  /** Sessions with and without a connection; most connected at once; ended because their client stayed away; slow now. */
  readonly clients: { readonly connected: number, readonly disconnected: number, readonly maximum: number, readonly expired: number, readonly slow: number }
  readonly subscriptions: { readonly own: number, readonly shared: number }
  /** Messages of all sessions: unacknowledged by their clients, and waiting. */
  readonly inflight: number
  readonly queued: number
  readonly queuedBytes: number
  readonly retained: number
  readonly retainedBytes: number
  /** QoS 2 messages of clients between PUBLISH and PUBREL. */
  readonly unreleased: number
  readonly dropped: { readonly conflate: number, readonly 'drop-oldest': number, readonly never: number }
  readonly conflated: number
  readonly expired: number
  readonly tooLarge: number
  /** Times that a publisher waited for subscribers, and for how long in all. */
  readonly holds: number
  readonly heldMs: number
  /** Packets of any kind. */
  readonly packets: { readonly received: number, readonly sent: number }
  /** PUBLISH packets and the bytes of their payloads; `limited`: times that a client had to wait because of its rate. */
  readonly publishes: { readonly received: number, readonly sent: number, readonly bytesReceived: number, readonly bytesSent: number, readonly limited: number }
  readonly bytes: { readonly received: number, readonly sent: number }
  /** Network connections, and CONNECT packets. */
  readonly sockets: number
  readonly connects: number
}

type Read = (numbers: BrokerNumbers) => number | Readonly<Record<string, number>>

/** Name, help, label where there is one, and the value, or the values by label. */
const BROKER_GAUGES: readonly (readonly [string, string, string | null, Read])[] = [
  ['sessions', 'Sessions by state: connected, disconnected', 'state', ({ clients: { connected, disconnected } }) => ({ connected, disconnected })],
  ['slow_subscribers', 'Subscribers that lose messages now, or take none', null, n => n.clients.slow],
  ['subscriptions', 'Subscriptions by kind: own, shared', 'kind', n => n.subscriptions],
  ['inflight_messages', 'Messages on their way to clients, unacknowledged', null, n => n.inflight],
  ['queued_messages', 'Messages that wait for clients', null, n => n.queued],
  ['queued_bytes', 'Bytes that wait for clients, roughly', null, n => n.queuedBytes],
  ['retained_messages', 'Retained messages', null, n => n.retained],
  ['retained_bytes', 'Bytes of retained messages, roughly', null, n => n.retainedBytes],
  ['unreleased_messages', 'Received QoS 2 messages whose client has not sent PUBREL', null, n => n.unreleased]
]
const BROKER_COUNTERS: typeof BROKER_GAUGES = [
  ['dropped_messages_total', 'Messages for slow or absent subscribers that made room for others, by policy', 'policy', n => n.dropped],
  ['conflated_messages_total', 'Messages that a newer one of the same topic replaced before the subscriber took them', null, n => n.conflated],
  ['expired_messages_total', 'Messages whose expiry interval was over before they were sent', null, n => n.expired],
  ['too_large_messages_total', 'Messages larger than what their subscriber takes', null, n => n.tooLarge],
  ['expired_sessions_total', 'Sessions that ended because their client stayed away', null, n => n.clients.expired],
  ['held_publishes_total', 'Times that a publisher waited for subscribers', null, n => n.holds],
  ['held_seconds_total', 'How long publishers waited for subscribers, in seconds', null, n => n.heldMs / 1_000],
  ['rate_limited_publishes_total', 'Times that a client waited because it published faster than it may', null, n => n.publishes.limited],
  ['packets_total', 'Packets of any kind by direction: received, sent', 'direction', n => n.packets],
  ['publishes_total', 'PUBLISH packets by direction: received, sent', 'direction', ({ publishes: { received, sent } }) => ({ received, sent })],
  ['bytes_total', 'Bytes by direction: received, sent', 'direction', n => n.bytes],
  ['connections_total', 'Network connections that were let in at the door', null, n => n.sockets]
]

/**
 * Makes the metrics of the embedded broker: `tell` is asked whenever they are read, and once for all of them. There is
 * one embedded broker for one registry; without it there are none of these, rather than zeros.
 */
export function meterBroker ({ registry }: Pick<Metrics, 'registry'>, tell: () => BrokerNumbers): void {
  let told: BrokerNumbers | null = null
  const numbers = (): BrokerNumbers => {
    // All metrics of one scrape are read in the same turn.
    if (told === null) setImmediate(() => { told = null })
    return told ??= tell()
  }
  const options = ([name, help, label]: (typeof BROKER_GAUGES)[number]) => ({ name: `parkmq_broker_${name}`, help, labelNames: label === null ? [] : [label], registers: [registry] })
  for (const row of BROKER_GAUGES) {
    new Gauge({ ...options(row), collect () { for (const [labels, value] of valuesOf(row, numbers())) this.set(labels, value) } })
  }
  for (const row of BROKER_COUNTERS) {
    new Counter({
      ...options(row),
      collect () {
        // The broker counts for itself: what it tells is the whole.
        this.reset()
        for (const [labels, value] of valuesOf(row, numbers())) this.inc(labels, value)
      }
    })
  }
}

function valuesOf ([, , label, read]: (typeof BROKER_GAUGES)[number], numbers: BrokerNumbers): [Record<string, string>, number][] {
  const value = read(numbers)
  return typeof value === 'number' ? [[{}, value]] : Object.entries(value).map(([name, one]) => [label === null ? {} : { [label]: name }, one])
}

/** Every counter's value by name and labels, for the `stats` request and for tests. */
export async function counterValues (metrics: Metrics): Promise<Record<string, number>> {
  const values: Record<string, number> = {}
  for (const metric of await metrics.registry.getMetricsAsJSON()) {
    if (metric.type as unknown !== 'counter' && metric.type as unknown !== 'gauge') continue
    for (const value of metric.values) {
      const labels = Object.entries(value.labels).map(([k, v]) => `${k}=${v}`).join(',')
      values[labels ? `${metric.name}{${labels}}` : metric.name] = value.value
    }
  }
  return values
}
