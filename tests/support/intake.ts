// An intake whose consumer the test plays, with a clock turned by hand. Tickets are the payloads.
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { expect } from 'vitest'
import { BatchStart } from '../../shared/batch-start.js'
import { ACCEPTED, type Consumer, type Delivery, type Later, type Outcome } from '../../shared/bus.js'
import { Intake, type Settlement } from '../../shared/intake.js'
import { counterValues, createMetrics } from '../../shared/metrics.js'
import { ManualClock } from './clock.js'

export const UNAVAILABLE: Settlement = { type: 'unavailable' }

interface Call {
  readonly texts: string[]
  /** Takes in what has come meanwhile; the whole batch then. */
  readonly more: () => string[]
  readonly commit: (outcomes?: readonly (Outcome | Later)[]) => void
  readonly fail: (error: unknown) => void
}

/** The intake, and everything that came of it. */
export function build (limits: Pick<Consumer, 'holdMs' | 'maxBatch' | 'abandon' | 'atOnce' | 'takesTurns' | 'waitsForCommit'> = {}, batchStart = new BatchStart()) {
  const clock = new ManualClock()
  const metrics = createMetrics()
  const calls: Call[] = []
  const settled: [string, Settlement][] = []
  const logged: Record<string, unknown>[] = []
  const wakes = new Set<() => void>()
  const woken = (): void => { for (const wake of wakes) wake() }
  const until = async (done: () => boolean): Promise<void> => await new Promise(resolve => {
    const look = (): void => {
      if (!done()) return
      wakes.delete(look)
      resolve()
    }
    wakes.add(look)
    look()
  })
  const consumer: Consumer = {
    ...limits,
    handle: async (batch, more) => await new Promise((resolve, reject) => {
      calls.push({ texts: batch.map(text), more: () => more().map(text), commit: (outcomes = batch.map(() => ACCEPTED)) => resolve(outcomes), fail: reject })
      woken()
    })
  }
  const call = async (number: number): Promise<Call> => {
    await until(() => calls.length > number)
    return calls[number] as Call
  }
  const log = pino({ level: 'info' }, new Writable({
    write (line: Buffer, _, done) {
      logged.push(JSON.parse(line.toString()) as Record<string, unknown>)
      done()
    }
  }))
  const intake = new Intake<string>({
    batchStart, consumer, filter: 'lots/+/sensor', clock, log, metrics,
    settle: (tickets, settlements) => {
      expect(settlements).toHaveLength(tickets.length)
      settled.push(...tickets.map((ticket, i): [string, Settlement] => [ticket, settlements[i] ?? UNAVAILABLE]))
      woken()
    }
  })
  return {
    intake, clock, settled, logged, calls,
    fail: async (number: number, error: unknown) => (await call(number)).fail(error),
    commit: async (number: number, outcomes?: readonly (Outcome | Later)[]) => (await call(number)).commit(outcomes),
    push: (...texts: string[]) => { for (const one of texts) intake.push(delivery(one, clock.nowMs()), one) },
    /** From the client that the first letter of each names; `pushGone` from one that has gone since. */
    pushGone: (...texts: string[]) => { for (const one of texts) intake.push({ ...delivery(one, clock.nowMs()), clientId: one.slice(0, 1), gone: AbortSignal.abort() }, one) },
    pushFrom: (...texts: string[]) => { for (const one of texts) intake.push({ ...delivery(one, clock.nowMs()), clientId: one.slice(0, 1) }, one) },
    call,
    settledCount: async (count: number) => await until(() => settled.length >= count),
    counter: async (name: string) => (await counterValues(metrics))[`parkmq_messages_${name}_total{filter=lots/+/sensor}`] ?? 0
  }
}

function delivery (payload: string, receivedAtMs: number): Delivery {
  return { topic: 'lots/LOT-A/sensor', payload: Buffer.from(payload), qos: 1, retain: false, dup: false, properties: {}, receivedAtMs }
}

/** What a delivery says. */
export function text (one: Delivery): string {
  return Buffer.from(one.payload).toString()
}
