// The broker that is fuzzed: the embedded one with consumers as in the real thing, in this process or in one of its own.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { createEmbeddedBroker } from '../../broker/index.js'
import { ACCEPTED } from '../../shared/bus.js'
import { systemClock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import { counterValues, createMetrics } from '../../shared/metrics.js'
import { SHORTEST_EXPIRY_SECONDS } from './life.js'
import type { Ports } from './peer.js'

/** A little more than every session of the fuzzer lasts for sure. */
export const LONGEST_EXPIRY_SECONDS = SHORTEST_EXPIRY_SECONDS + 10

export interface Target {
  readonly ports: Ports
  /** Metrics by name, without `parkmq_`. */
  counts (): Promise<Record<string, number>>
  /** Bytes of heap and buffers in use after a collection; null where none can be forced. */
  memory (): Promise<number | null>
  /** Log lines that tell of a fault. */
  errors (): Promise<readonly string[]>
  /** Why the process is gone; null as long as it is not. */
  died (): string | null
  stop (): Promise<void>
}

type StartedBroker = Omit<Target, 'died' | 'errors'> & { errors (): readonly string[] }

/** Starts the broker in this process. */
export async function startBroker (): Promise<StartedBroker> {
  // A session whose id the fuzzer never learned ends by itself.
  const config = Config.parse({ port: 0, wsPort: 0, limits: { sessionExpirySeconds: LONGEST_EXPIRY_SECONDS } })
  const metrics = createMetrics()
  const errors: string[] = []
  const sink = new Writable({
    write (line: Buffer, _, done) {
      errors.push(line.toString().trim())
      done()
    }
  })
  const broker = await createEmbeddedBroker({ config, clock: systemClock, log: pino({ level: 'error', base: null }, sink), metrics })
  // A refusal now and then, so that every way of a message is gone.
  await broker.bus.consume('lots/+/sensor', {
    handle: async batch => batch.map(({ payload }) => payload.length % 3 === 0 ? { type: 'refused', refusal: { code: 'bad_message', message: 'no' } } : ACCEPTED)
  })
  await broker.bus.consume('requests/+', { handle: async batch => batch.map(() => ACCEPTED) })
  await broker.bus.publish('lots/LOT-A/free', '42', { retain: true })
  const ports = await broker.listen()
  return {
    ports,
    counts: async () => Object.fromEntries(Object.entries(await counterValues(metrics)).map(([name, value]) => [name.replace('parkmq_', ''), value])),
    memory: async () => {
      if (!globalThis.gc) return null
      for (let i = 0; i < 3; i++) {
        globalThis.gc()
        await new Promise(resolve => setTimeout(resolve, 20))
      }
      const { heapUsed, external } = process.memoryUsage()
      return heapUsed + external
    },
    errors: () => errors,
    stop: () => broker.close()
  }
}

/** The broker in this process: its end is the end of the fuzzer too. */
export async function targetHere (): Promise<Target> {
  const broker = await startBroker()
  return { ...broker, died: () => null, errors: async () => broker.errors() }
}

/** The broker in a process of its own; `program` is the compiled broker-process. */
export async function targetProcess (program: string): Promise<Target> {
  const child = fork(program, { execArgv: ['--expose-gc', '--enable-source-maps'], stdio: ['ignore', 'inherit', 'pipe', 'ipc'] })
  let said = ''
  let gone: string | null = null
  let next = 1
  const waiting = new Map<number, { resolve: (value: unknown) => void, reject: (error: Error) => void }>()
  child.stderr?.on('data', (text: Buffer) => { said = (said + text.toString()).slice(-5_000) })
  child.on('message', ({ id, value }: { id: number, value: unknown }) => {
    waiting.get(id)?.resolve(value)
    waiting.delete(id)
  })
  const exited = once(child, 'exit').then(([code, signal]) => {
    gone = `the broker's process ended (${String(code ?? signal)}): ${said}`
    for (const { reject } of waiting.values()) reject(new Error(gone))
  })
  const answer = async (id: number): Promise<unknown> => {
    if (gone !== null) throw new Error(gone)
    return await new Promise((resolve, reject) => { waiting.set(id, { resolve, reject }) })
  }
  const ask = async (question: string): Promise<unknown> => {
    const id = next++
    if (child.connected) child.send({ id, ask: question })
    return await answer(id)
  }
  const ports = await answer(0) as Ports
  return {
    ports,
    counts: async () => await ask('counts') as Record<string, number>,
    memory: async () => await ask('memory') as number,
    errors: async () => await ask('errors') as string[],
    died: () => gone,
    stop: async () => {
      if (gone === null) await ask('stop').catch(() => {})
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000)
      await exited
      clearTimeout(timer)
    }
  }
}
