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
    clients: new Gauge({ name: 'parkmq_broker_clients', help: 'Clients connected now', registers }),
    malformed: counter('broker_malformed_packets_total', 'Malformed or forbidden packets by MQTT 5 reason code', ['reason']),
    overLimit: counter('broker_over_limit_total', 'Times that a client met a limit, by limit', ['limit']),
    denied: counter('broker_denied_publishes_total', 'Publishes on topics that only the services write'),
    connectionErrors: counter('broker_connection_errors_total', 'Connections that ended with an error')
  }
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
