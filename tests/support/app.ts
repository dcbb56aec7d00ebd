// The whole of parkmq on free ports with a ledger of its own, and clients that wait for messages instead of for time.
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { IPublishPacket, MqttClient } from 'mqtt'
import { onTestFinished } from 'vitest'
import { startApp, type App } from '../../cli/app.js'
import { Config } from '../../shared/config.js'
import { createLog } from '../../shared/log.js'
import { connectMqtt, endMqtt, type ConnectOptions } from '../../shared/mqtt-client.js'
import { createRequester, type Requester } from '../../shared/requester.js'
import type { Clock } from '../../shared/clock.js'

export function testFolder (within = tmpdir()): string {
  const path = mkdtempSync(join(within, 'parkmq-test-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** In memory where the system has such a folder: for many steps in little time, where a loss of power is not the matter. */
export function memoryFolder (): string {
  return testFolder(existsSync('/dev/shm') ? '/dev/shm' : tmpdir())
}

export interface TestApp {
  readonly app: App
  readonly url: string
  /** A connected client with an inbox; closed after the test. */
  readonly connect: (options?: ConnectOptions) => Promise<TestClient>
}

export interface TestAppOptions {
  readonly data?: string
  readonly clock?: Clock
  readonly settings?: Record<string, unknown>
  /** The compiled threads that look at frames; only with `settings.cameras`. */
  readonly cameraWorker?: URL
}

export async function startTestApp ({ data = testFolder(), clock, settings = {}, cameraWorker }: TestAppOptions = {}): Promise<TestApp> {
  const config = Config.parse({ port: 0, wsPort: 0, data, ...settings })
  const app = await startApp({ config, log: createLog('silent', false), ...(clock && { clock }), ...(cameraWorker && { cameraWorker }) })
  onTestFinished(() => app.stop())
  const url = config.broker ?? `mqtt://127.0.0.1:${app.port}`
  return { app, url, connect: async options => await connectTestClient(url, options) }
}

export async function connectTestClient (url: string, options: ConnectOptions = {}): Promise<TestClient> {
  const client = await connectMqtt(url, options)
  const test = new TestClient(client)
  onTestFinished(() => test.end())
  return test
}

export interface Received {
  readonly topic: string
  readonly text: string
  readonly packet: IPublishPacket
}

/** How long a test waits for a message before it says what came instead. */
const PATIENCE_MS = 10_000

export class TestClient {
  readonly mqtt: MqttClient
  readonly received: Received[] = []
  readonly #waiting = new Set<() => void>()
  #requester: Promise<Requester> | null = null

  constructor (client: MqttClient) {
    this.mqtt = client
    client.on('message', (topic, payload, packet) => {
      if (topic.startsWith('replies/')) return
      this.received.push({ topic, text: payload.toString(), packet })
      for (const look of this.#waiting) look()
    })
  }

  async subscribe (...filters: string[]): Promise<this> {
    await this.mqtt.subscribeAsync(filters, { qos: 1 })
    return this
  }

  /** Resolves with the first message that fits, past or to come. */
  async until (what: string, fits: (message: Received) => boolean): Promise<Received> {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(look)
        reject(new Error(`${what} did not come; received: ${this.received.slice(-20).map(m => `${m.topic} ${m.text}`).join(' | ') || 'nothing'}`))
      }, PATIENCE_MS)
      const look = (): void => {
        const found = this.received.find(fits)
        if (!found) return
        clearTimeout(timer)
        this.#waiting.delete(look)
        resolve(found)
      }
      this.#waiting.add(look)
      look()
    })
  }

  /** Resolves when the last message on `topic` is `text`, or fits. */
  async last (topic: string, text: string | ((text: string) => boolean)): Promise<string> {
    const fits = (value: string | undefined): boolean => value !== undefined && (typeof text === 'string' ? value === text : text(value))
    const newest = (): string | undefined => this.received.findLast(m => m.topic === topic)?.text
    await this.until(`${topic} ${typeof text === 'string' ? text : 'as expected'}`, () => fits(newest()))
    return newest() ?? ''
  }

  /** Publishes with QoS 1 and resolves at PUBACK. */
  async publish (topic: string, payload: string | object): Promise<void> {
    await this.mqtt.publishAsync(topic, typeof payload === 'string' ? payload : JSON.stringify(payload), { qos: 1 })
  }

  /** The result of a request, or its error code as `{ error }`. */
  async request<R = Record<string, unknown>> (method: string, body: object = {}): Promise<R & { error?: string }> {
    const requester = await (this.#requester ??= createRequester(this.mqtt, { timeoutMs: 10_000 }))
    const reply = await requester.request(method, body)
    return (reply.ok ? reply.result : { error: reply.error.code, message: reply.error.message }) as R & { error?: string }
  }

  async end (): Promise<void> {
    await (await this.#requester)?.close().catch(() => {})
    await endMqtt(this.mqtt)
  }
}

/** The JSON object of a message. */
export function json (text: string): Record<string, unknown> {
  return JSON.parse(text) as Record<string, unknown>
}
