// One real broker with one user of every role, the subject of a test among them, and a watcher who may read everything.
import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import type { IPublishPacket, Packet } from 'mqtt-packet'
import { expect } from 'vitest'
import type { Delivery } from '../../shared/bus.js'
import { REQUEST_FILTER, SENSOR_FILTER } from '../../shared/topics.js'
import { AcceptingConsumer, startBroker, type TestBroker } from '../support/broker.js'
import { TestAuthority } from '../support/certificates.js'
import { RawClient, type Transport, type Version } from '../support/raw-client.js'
import type { TestUser } from '../support/users-file.js'
import { isTaken, SUBJECTS, topicsFor, type Names, type Subject } from './table.js'

export const TRANSPORTS = ['tcp', 'ws', 'tls', 'wss'] as const
export const VERSIONS = [4, 5] as const

export interface Case {
  readonly subject: Subject
  readonly version: (typeof VERSIONS)[number]
  readonly transport: Transport
  /** For the test's name. */
  readonly mqtt: string
}

/** Every subject in both versions over every transport. */
export const CASES: readonly Case[] = TRANSPORTS.flatMap(transport => VERSIONS.flatMap(version => SUBJECTS.map(subject => (
  { subject, version, transport, mqtt: version === 5 ? '5.0' : '3.1.1' }
))))

/** The users of every scene; their password is their name. */
export const USERS: readonly (TestUser & { readonly name: string })[] = [
  { name: 'board', role: 'display' },
  { name: 'anna', role: 'driver' },
  { name: 'gate', role: 'device', lots: ['LOT-A'] },
  { name: 'gateway', role: 'device', lots: ['*'] },
  { name: 'olga', role: 'operator' },
  { name: 'bridge', role: 'service' },
  { name: 'otto', role: 'driver' },
  { name: 'watcher', role: 'service' }
].map(user => ({ ...user, password: user.name }))

const NAME_OF = { local: null, nobody: null, display: 'board', driver: 'anna', device: 'gate', hub: 'gateway', operator: 'olga', service: 'bridge' } as const satisfies Record<Subject, string | null>
/** Another user than any subject, in whose place some of them would like to be. */
export const OTHER = 'otto'

const SETTLED = 'settled'

export type ConnectOptions = Parameters<RawClient['connect']>[0] & object

export interface Opened {
  readonly client: RawClient
  readonly connack: Awaited<ReturnType<RawClient['connect']>>
}

/** A message as the tests compare it. */
export interface Heard {
  readonly topic: string
  readonly text: string
}

export class Scene {
  readonly broker: TestBroker
  readonly names: Names
  /** The subject's user name; null for one without. */
  readonly user: string | null
  readonly #taken: AcceptingConsumer
  readonly #transport: Transport
  readonly #secure: ConnectionOptions

  private constructor (broker: TestBroker, subject: Subject, taken: AcceptingConsumer, transport: Transport, secure: ConnectionOptions) {
    this.broker = broker
    this.user = NAME_OF[subject]
    // Nobody's own topics would be those of its client id, by convention.
    this.names = { subject, me: this.user ?? subject, other: OTHER }
    this.#taken = taken
    this.#transport = transport
    this.#secure = secure
  }

  static async open (subject: Subject, transport: Transport = 'tcp'): Promise<Scene> {
    const taken = new AcceptingConsumer()
    const isTls = transport === 'tls' || transport === 'wss'
    const authority = isTls ? new TestAuthority() : null
    const broker = await startBroker({
      ...(subject !== 'local' && { users: USERS, allowAnonymous: true }),
      ...(authority && { tls: authority.issue('localhost') }),
      prepare: async ({ bus }) => {
        await bus.consume(SENSOR_FILTER, taken)
        await bus.consume(REQUEST_FILTER, taken)
      }
    })
    return new Scene(broker, subject, taken, transport, authority ? { ca: readFileSync(authority.file) } : {})
  }

  /** The subject's client id: it looks like another user's, which gives it nothing; nobody's own by which its replies would be called. */
  get clientId (): string { return this.names.subject === 'nobody' ? this.names.me : `${OTHER}-phone` }

  /** What the services were handed from clients, in its order. */
  get taken (): Delivery[] { return this.#taken.deliveries.filter(({ clientId }) => clientId !== undefined) }

  /** Connects as the subject, with a client id that is another user's name unless it is told. */
  async connect (version: Version, options: ConnectOptions = {}): Promise<Opened> {
    return await this.connectAs(this.user, version, { clientId: this.clientId, ...options })
  }

  /** Connects as a user, null for one that does not say who it is. */
  async connectAs (user: string | null, version: Version, options: ConnectOptions = {}): Promise<Opened> {
    return await this.connectTo(await this.reach(version), user, options)
  }

  /** A connection on which nothing is said yet. */
  async reach (version: Version): Promise<RawClient> {
    return await RawClient.open(this.broker, version, this.#transport, this.#secure)
  }

  /** Says CONNECT there at once. */
  async connectTo (client: RawClient, user: string | null, options: ConnectOptions = {}): Promise<Opened> {
    const connack = await client.connect({ ...(user !== null && { username: user, password: Buffer.from(user) }), ...options })
    return { client, connack }
  }

  /** Somebody who may read everything, and subscribes to it; retained messages are heard only if that is asked for. */
  async watch ({ retained = false } = {}): Promise<Watcher> {
    const { client } = await this.connectAs(this.names.subject === 'local' ? null : 'watcher', 5)
    const rh = retained ? 0 : 2
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: ['#', '$SYS/#'].map(topic => ({ topic, qos: 0 as const, rh })) })
    expect(await client.nextOf('suback')).toMatchObject({ granted: [0, 0] })
    return new Watcher(this, client)
  }

  /** What is retained now, by topic. */
  async retained (): Promise<Record<string, string>> {
    const watcher = await this.watch({ retained: true })
    const heard = heardOf(await watcher.client.flushed())
    watcher.client.destroy()
    return Object.fromEntries(heard.map(({ topic, text }) => [topic, text]))
  }

  /** parkmq itself says this on every topic; retained where that is possible. Resolves when it is on its way to everybody. */
  async sayEverywhere (text: string, { retain = false } = {}): Promise<void> {
    const topics = topicsFor(this.names).map(({ topic }) => topic).filter(topic => !retain || !isTaken(topic))
    await Promise.all(topics.map(topic => this.broker.bus.publish(topic, text, { retain })))
  }

  /** Resolves when the services are done with what they were handed, and it has gone on to its subscribers. */
  async settled (): Promise<void> {
    await Promise.all(['lots/LOT-Z/sensor', 'requests/settled'].map(topic => this.broker.bus.publish(topic, SETTLED)))
  }

  async denied (): Promise<number> {
    return await this.broker.count('broker_denied_publishes_total')
  }

  /** Resolves when the broker has seen that all but so many connections are gone. */
  async untilConnected (count: number): Promise<void> {
    await expect.poll(() => this.broker.count('broker_clients'), { interval: 2 }).toBe(count)
  }
}

export class Watcher {
  readonly client: RawClient
  readonly #scene: Scene
  #marks = 0

  constructor (scene: Scene, client: RawClient) {
    this.#scene = scene
    this.client = client
  }

  /** What was heard since the last time, up to now. */
  async heard (): Promise<Heard[]> {
    await this.#scene.settled()
    const mark = `mark ${++this.#marks}`
    await this.#scene.broker.bus.publish('lots/LOT-Z/free', mark)
    const heard: Heard[] = []
    for (;;) {
      const [message] = heardOf([await this.client.next()])
      if (message?.text === mark) return heard
      if (message && message.text !== SETTLED) heard.push(message)
    }
  }
}

/** The messages among packets. */
export function heardOf (packets: readonly Packet[]): Heard[] {
  return packets.filter((packet): packet is IPublishPacket => packet.cmd === 'publish').map(({ topic, payload }) => ({ topic, text: payload.toString() }))
}

/** A delivery as far as it tells of its sender: nothing of it is what the client says itself. */
export function senderOf ({ clientId, user, role, replyBase, address }: Delivery): Partial<Pick<Delivery, 'clientId' | 'user' | 'role' | 'replyBase' | 'address'>> {
  return {
    ...(clientId !== undefined && { clientId }), ...(user !== undefined && { user }), ...(role !== undefined && { role }),
    ...(replyBase !== undefined && { replyBase }), ...(address !== undefined && { address })
  }
}

/** What the broker knows of the subject and tells a service: written out by hand as well. */
export function expectedSender ({ names: { subject, me } }: Scene, clientId: string): ReturnType<typeof senderOf> {
  switch (subject) {
    case 'local': return { clientId, role: 'local' }
    case 'nobody': return { clientId, role: 'display' }
    case 'hub': return { clientId, user: me, role: 'device', replyBase: `replies/${me}/` }
    case 'service': return { clientId, user: me, role: 'service' }
    case 'display': case 'driver': case 'device': case 'operator': return { clientId, user: me, role: subject, replyBase: `replies/${me}/` }
    default: return subject satisfies never
  }
}

/** `0x87` */
export function hex (code: number): string {
  return `0x${code.toString(16).padStart(2, '0')}`
}

/** What is other than the table says, one line each: with nothing in it the matrix is as it should be. */
export function differences (actual: Readonly<Record<string, string>>, expected: Readonly<Record<string, string>>): string[] {
  return [...new Set([...Object.keys(expected), ...Object.keys(actual)])]
    .filter(key => actual[key] !== expected[key])
    .map(key => `${key}: ${actual[key] ?? 'nothing'} instead of ${expected[key] ?? 'nothing'}`)
}
