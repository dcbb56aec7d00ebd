// Publishers that keep a window of unacknowledged QoS 1 messages open, and what their messages' PUBACKs took.
import type { Histogram } from 'hdr-histogram-js'
import { newLatency, percentileMs } from './figures.js'
import { PUBACK, publishPacket, type Credentials } from './mqtt-bytes.js'
import { rawConnect, readPackets, type Ports } from './raw-client.js'

export interface LoadParts {
  readonly ports: Ports
  readonly publishers: number
  readonly window: number
  /** Messages that each publisher sends. */
  readonly messages: number
  readonly topic: (publisher: number, n: number) => string
  readonly payload: (publisher: number, n: number) => string
  /** Where the broker has users. */
  readonly credentials?: (publisher: number) => Credentials | undefined
}

export interface LoadResult {
  readonly acknowledged: number
  readonly seconds: number
  readonly perSecond: number
  /** Microseconds from the write of a message to its PUBACK. */
  readonly latency: Histogram
}

/** Sends everything and waits for every PUBACK. Message `n` counts from 1. */
export async function load ({ ports, publishers, window, messages, topic, payload, credentials }: LoadParts): Promise<LoadResult> {
  const latency = newLatency()
  const prepared = Array.from({ length: publishers }, (_, p) => Array.from({ length: messages }, (_, i) => publishPacket(topic(p, i + 1), payload(p, i + 1), i % 65_535 + 1)))
  const sockets = await Promise.all(prepared.map(async (_, p) => await rawConnect(ports, { clientId: `bench-pub-${process.pid}-${p}`, version: 4, clean: true, credentials: credentials?.(p) })))
  const startedMs = performance.now()
  await Promise.all(sockets.map(async (socket, p) => {
    const packets = prepared[p] ?? []
    const sentAtMs = new Float64Array(messages)
    let sent = 0
    let acked = 0
    const fill = (): void => {
      const until = Math.min(acked + window, messages)
      if (sent >= until) return
      const now = performance.now()
      sentAtMs.fill(now, sent, until)
      socket.write(Buffer.concat(packets.slice(sent, until)))
      sent = until
    }
    await new Promise<void>((resolve, reject) => {
      socket.once('close', () => acked === messages ? resolve() : reject(new Error(`the connection was closed after ${acked} of ${messages} PUBACKs`)))
      readPackets(socket, head => {
        if (head >> 4 !== PUBACK) return
        latency.recordValue(Math.max(1, Math.round((performance.now() - (sentAtMs[acked] ?? 0)) * 1_000)))
        acked++
        if (acked === messages) resolve()
      })
      // Once a read: as a client does that fills its window after it has read what was there.
      socket.on('data', fill)
      fill()
    })
  }))
  const seconds = (performance.now() - startedMs) / 1_000
  for (const socket of sockets) socket.destroy()
  const acknowledged = publishers * messages
  return { acknowledged, seconds, perSecond: acknowledged / seconds, latency }
}

/** `12.3k/s, p50 1.2 ms, p99 3.4 ms`. */
export function sayLoad ({ perSecond, latency }: LoadResult): string {
  return `${(perSecond / 1_000).toFixed(1)}k/s, PUBACK after p50 ${percentileMs(latency, 50)} ms, p95 ${percentileMs(latency, 95)} ms, p99 ${percentileMs(latency, 99)} ms`
}
