// The experiment on invocation semantics: the same requests with retries through the same bad network, once without and
// once with the request history, and what each method's logical requests came to.
//
// Requests and replies travel at QoS 0 here. At QoS 1 MQTT itself would send a lost PUBLISH again, but only with a new
// connection, and until then a lost PUBLISH or PUBACK would keep its place in a window and stall the sender: what one
// would see is the broker's redelivery and not the retries of requests. What may happen to a request is the same as at
// QoS 1 over connections that break: it comes not at all, once, or several times, and so does its reply.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MqttClient } from 'mqtt'
import { Experiment } from '../../services/reservation/experiment.js'
import { Config } from '../../shared/config.js'
import { createLog } from '../../shared/log.js'
import { connectMqtt, endMqtt } from '../../shared/mqtt-client.js'
import { createRequester, TimeoutError, type Requester } from '../../shared/requester.js'
import { MAX_CAPACITY, type Method, type Reply } from '../../shared/schemas.js'
import { topics } from '../../shared/topics.js'
import { startApp, type App } from '../app.js'
import { FaultProxy, type Direction, type FaultCounts } from './fault-proxy.js'
import type { PacketFaults } from './faults.js'
import { lotOf, PERMIT, TRIALS, TRIED, type Call, type LogicalRequest, type Trial, type TriedMethod } from './methods.js'

export interface SemanticsSettings {
  readonly faults: PacketFaults
  /** Logical requests of each method. */
  readonly requests: number
  readonly clients: number
}

export interface MethodReport {
  readonly method: TriedMethod
  readonly requests: number
  /** Tries after the first, of all requests. */
  readonly retries: number
  /** How often the service carried one out, in all. */
  readonly executions: number
  /** Logical requests that were carried out more than once. */
  readonly executedMoreThanOnce: number
  /** Refusals that a logical request should not have got, by code. */
  readonly wrongErrors: Readonly<Record<string, number>>
  readonly unanswered: number
  /** Logical requests whose effect is not in the ledger exactly once; of the unanswered, those that are there more than once. */
  readonly wrongState: number
}

export interface ModeReport {
  readonly history: 'off' | 'on'
  /** From the first request to the last reply. */
  readonly seconds: number
  readonly methods: readonly MethodReport[]
  readonly packets: Readonly<Record<Direction, Readonly<FaultCounts>>>
}

export interface Progress {
  readonly history: 'off' | 'on'
  /** Logical requests of this mode that are over, of how many. */
  readonly done: number
  readonly of: number
}

export interface SemanticsParts {
  readonly settings: SemanticsSettings
  /** Aborted: everything is stopped and removed, and `runSemantics` throws its reason. */
  readonly signal: AbortSignal
  readonly onProgress?: (progress: Progress) => void
}

/** Requests of each method that one client has under way at once. */
export const AT_ONCE = 2
/** What a try may take besides the delays of the network. */
const SERVICE_MS = 100
/** The share of requests that may stay unanswered by bad luck: less than one in a million runs of a thousand. */
const UNLUCKY = 1e-9
const MAX_TRIES = 200
/** How long the last try waits besides: a busy machine stands still for seconds, and a reply is late then and not lost. */
const STALL_MS = 15_000
const PREPARE_TIMEOUT_MS = 30_000

/** Each try has the time of the longest way there and back; at most 200 tries, less where luck cannot be that bad. */
export function triesOf ({ loss, delayMs }: PacketFaults): { retries: number, tryMs: number, timeoutMs: number } {
  const answered = (1 - loss) ** 2
  const tries = answered === 1 ? 3 : Math.min(MAX_TRIES, Math.max(3, Math.ceil(Math.log(UNLUCKY) / Math.log(1 - answered))))
  const tryMs = 2 * delayMs + SERVICE_MS
  return { retries: tries - 1, tryMs, timeoutMs: tries * tryMs + STALL_MS }
}

/** Runs both modes. Nothing is left of them when it resolves or throws. */
export async function runSemantics (parts: SemanticsParts): Promise<ModeReport[]> {
  return [await runMode('off', parts), await runMode('on', parts)]
}

async function runMode (history: 'off' | 'on', { settings, signal, onProgress }: SemanticsParts): Promise<ModeReport> {
  signal.throwIfAborted()
  const stops: Stop[] = []
  const executions = new Map<string, number>()
  const experiment = new Experiment({ history, onCarriedOut: requestId => executions.set(requestId, (executions.get(requestId) ?? 0) + 1) })
  try {
    const data = await mkdtemp(join(tmpdir(), 'parkmq-experiment-'))
    stops.push(async () => await rm(data, { recursive: true, force: true }))
    const app = await startApp({ config: configOf(data), log: createLog('silent', false), experiment })
    stops.push(() => app.stop())
    const trials = await withCall(app, signal, async call => await prepare(call, settings.requests))
    const proxy = await FaultProxy.open(app.port ?? 0, settings.faults)
    stops.push(() => proxy.close())
    const requesters = await connectAll(proxy.url, settings, stops)
    // What is open fails at once. Whether the connection was left in order is of no interest then: it ends next.
    const onAbort = (): void => { for (const requester of requesters) void requester.close().catch(() => {}) }
    signal.addEventListener('abort', onAbort)
    stops.push(async () => signal.removeEventListener('abort', onAbort))
    const asked = new Asked(history, settings.requests, onProgress)
    const startedMs = performance.now()
    const lines = Array.from({ length: AT_ONCE }, () => requesters).flat()
    await Promise.all(lines.flatMap((requester, first) => trials.map(async ({ method, bodies }) => {
      for (let n = first; n < bodies.length; n += lines.length) await asked.ask(requester, method, n, bodies[n] ?? {}, signal)
    })))
    const seconds = (performance.now() - startedMs) / 1_000
    // Late requests may still be carried out. A reply to each client tells that all it has sent before was.
    await proxy.calm()
    await Promise.all(requesters.map(async requester => await requester.request('ping')))
    signal.throwIfAborted()
    const methods: MethodReport[] = []
    for (const { method, trial } of trials) {
      const requests = asked.of(method)
      methods.push({
        method,
        requests: requests.length,
        retries: proxy.published(topics.request(method)) - requests.length,
        executions: sum(requests.map(({ requestId }) => executions.get(requestId) ?? 0)),
        executedMoreThanOnce: requests.filter(({ requestId }) => (executions.get(requestId) ?? 0) > 1).length,
        wrongErrors: errorsOf(requests),
        unanswered: requests.filter(({ reply }) => reply === null).length,
        wrongState: await app.ledger.read(async database => await trial.wrong(database, requests))
      })
    }
    return { history, seconds, methods, packets: structuredClone(proxy.counts) }
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    await stopAll(stops)
  }
}

type Stop = () => Promise<void>

/** Backwards, and all of them. Throws the first error. */
async function stopAll (stops: readonly Stop[]): Promise<void> {
  const errors: unknown[] = []
  for (const stop of [...stops].reverse()) await stop().catch((error: unknown) => errors.push(error))
  if (errors.length > 0) throw errors[0]
}

interface Prepared { readonly method: TriedMethod, readonly trial: Trial, readonly bodies: readonly object[] }

async function prepare (call: Call, count: number): Promise<Prepared[]> {
  const prepared: Prepared[] = []
  for (const method of TRIED) {
    const trial = TRIALS[method]()
    prepared.push({ method, trial, bodies: await trial.prepare(call, count) })
  }
  return prepared
}

/** Settings with which nothing but the faults can spoil a request: no place, permit or limit runs out. */
function configOf (data: string): Config {
  return Config.parse({
    host: '127.0.0.1', port: 0, wsPort: 0, data, logLevel: 'silent',
    lots: TRIED.map(method => ({ lot: lotOf(method), capacity: MAX_CAPACITY })),
    permits: [{ permit: PERMIT, name: 'Experiment', priceCents: 1_000, stock: 10_000_000 }],
    limits: { reservationsPerPlate: MAX_CAPACITY, reservationsPerUser: MAX_CAPACITY },
    times: { sysMs: 0 }
  })
}

/** Undisturbed requests, straight to the broker. */
async function withCall<T> (app: App, signal: AbortSignal, work: (call: Call) => Promise<T>): Promise<T> {
  const client = await connectMqtt(`mqtt://127.0.0.1:${app.port}`)
  try {
    const requester = await createRequester(client, { timeoutMs: PREPARE_TIMEOUT_MS })
    return await work(async (method, body) => {
      signal.throwIfAborted()
      const reply = await requester.request(method, body)
      if (!reply.ok) throw new Error(`the experiment could not be prepared: ${method} was refused (${reply.error.code}): ${reply.error.message}`)
      return reply.result
    })
  } finally {
    await endMqtt(client)
  }
}

async function connectAll (url: string, { clients, faults }: SemanticsSettings, stops: Stop[]): Promise<Requester[]> {
  const patience = triesOf(faults)
  const requesters: Requester[] = []
  // One after the other: the number of a connection decides about the fate of its packets.
  for (let n = 0; n < clients; n++) {
    const client: MqttClient = await connectMqtt(url, { reconnect: true })
    stops.push(() => endMqtt(client))
    const requester = await createRequester(client, { qos: 0, ...patience })
    stops.push(() => requester.close())
    requesters.push(requester)
  }
  return requesters
}

/** The logical requests of one mode. */
class Asked {
  readonly #history: 'off' | 'on'
  readonly #each: number
  readonly #onProgress: ((progress: Progress) => void) | undefined
  readonly #requests = new Map<Method, LogicalRequest[]>(TRIED.map(method => [method, []]))
  #done = 0

  constructor (history: 'off' | 'on', each: number, onProgress: ((progress: Progress) => void) | undefined) {
    this.#history = history
    this.#each = each
    this.#onProgress = onProgress
  }

  of (method: TriedMethod): readonly LogicalRequest[] {
    return this.#requests.get(method) ?? []
  }

  async ask (requester: Requester, method: TriedMethod, n: number, body: object, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    // Made here, since the service counts by it what was carried out.
    const requestId = `experiment-${method}-${n}`
    this.#requests.get(method)?.push({ requestId, body, reply: await replyTo(requester, method, { ...body, requestId }) })
    this.#onProgress?.({ history: this.#history, done: ++this.#done, of: this.#each * TRIED.length })
  }
}

/** Null when none came in the time of all tries. */
async function replyTo (requester: Requester, method: TriedMethod, body: object): Promise<Reply | null> {
  try {
    return await requester.request(method, body)
  } catch (error) {
    if (error instanceof TimeoutError) return null
    throw error
  }
}

function errorsOf (requests: readonly LogicalRequest[]): Record<string, number> {
  const errors: Record<string, number> = {}
  for (const { reply } of requests) if (reply?.ok === false) errors[reply.error.code] = (errors[reply.error.code] ?? 0) + 1
  return errors
}

function sum (numbers: readonly number[]): number {
  return numbers.reduce((all, one) => all + one, 0)
}
