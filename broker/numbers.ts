// What the broker knows of itself at one moment: the same numbers for $SYS and for Prometheus. Everything but the sums
// over sessions is at hand already; those are worked out when somebody asks, never while messages pass.
import type { BrokerNumbers } from '../shared/metrics.js'
import type { Engine } from './engine.js'

export function numbersOf ({ sessions, router, retained, received, traffic, counts, flow }: Engine): BrokerNumbers {
  let slow = 0
  let inflight = 0
  let queued = 0
  let queuedBytes = 0
  for (const session of sessions.all.values()) {
    if (session.isSlowNow) slow++
    inflight += session.inflight
    queued += session.queued
    queuedBytes += session.queuedBytes
  }
  return {
    clients: { connected: sessions.connected, disconnected: sessions.disconnected, maximum: sessions.mostConnected, expired: sessions.expired, slow },
    subscriptions: { own: router.count - router.sharedCount, shared: router.sharedCount },
    inflight,
    queued,
    queuedBytes,
    retained: retained.count,
    retainedBytes: retained.bytes,
    unreleased: received.count,
    dropped: { ...counts.dropped },
    conflated: counts.conflated,
    expired: counts.expired,
    tooLarge: counts.tooLarge,
    holds: flow.holds,
    heldMs: flow.heldMs,
    packets: { received: traffic.messagesReceived, sent: traffic.messagesSent },
    publishes: { received: traffic.publishReceived, sent: traffic.publishSent, bytesReceived: traffic.publishBytesReceived, bytesSent: traffic.publishBytesSent, limited: traffic.limitedPublishes },
    bytes: { received: traffic.bytesReceived, sent: traffic.bytesSent },
    sockets: traffic.sockets,
    connects: traffic.connects
  }
}
