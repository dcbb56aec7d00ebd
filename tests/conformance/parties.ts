// The two sides of a delivery, for the conformance tests of every version: one publishes with the whole handshake, the
// other answers everything that comes. They are strict clients: what a server must not do is an error here, not ignored.
import type { IPublishPacket, ISubscription, QoS } from 'mqtt-packet'
import { expect } from 'vitest'
import { RawClient, type Version } from '../support/raw-client.js'
import { publish } from './v5-wire.js'

type Ports = { port: number, wsPort: number }
type ConnectOptions = NonNullable<Parameters<typeof RawClient.connected>[2]>
type PublishOptions = NonNullable<Parameters<typeof publish>[2]>

/** How a client of this version asks for a session that outlives its connection. */
export function kept (clientId: string, version: Version = 5): ConnectOptions {
  return { clientId, clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 100 } }) }
}

/** Connects and tells whether the server had a session. */
export async function join (ports: Ports, version: Version, { transport, ...options }: ConnectOptions): Promise<{ client: RawClient, present: boolean }> {
  const client = await RawClient.open(ports, version, transport)
  const { sessionPresent } = await client.connect(options)
  return { client, present: sessionPresent }
}

/** Subscribes to each filter and returns the codes of SUBACK. Filters as text are asked for with `qos`. */
export async function listen (client: RawClient, filters: readonly (string | ISubscription)[], qos: QoS = 2): Promise<number[]> {
  client.send({ cmd: 'subscribe', messageId: 60_000, subscriptions: filters.map(filter => typeof filter === 'string' ? { topic: filter, qos } : filter) })
  const { messageId, granted } = await client.nextOf('suback')
  expect(messageId).toBe(60_000)
  return granted.map(Number)
}

/** A connected client with one subscription. */
export async function listener (ports: Ports, version: Version, filter: string, qos: QoS = 2, options: ConnectOptions = {}): Promise<RawClient> {
  const client = await RawClient.connected(ports, version, options)
  expect(await listen(client, [filter], qos)).toEqual([qos])
  return client
}

const lastIds = new WeakMap<RawClient, number>()

/** The next packet identifier of this client; a used one comes again after all the others. */
export function freshId (client: RawClient): number {
  const id = (lastIds.get(client) ?? 0) % 65_535 + 1
  lastIds.set(client, id)
  return id
}

/** Publishes and returns when the handshake of the QoS is over. Messages that come meanwhile are passed over. */
export async function deliver (client: RawClient, topic: string, payload: string, qos: QoS = 1, options: PublishOptions = {}): Promise<void> {
  if (qos === 0) {
    client.send(publish(topic, payload, options))
    await client.flushed()
    return
  }
  const messageId = freshId(client)
  client.send(publish(topic, payload, { ...options, qos, messageId }))
  const answer = await client.nextOf(qos === 1 ? 'puback' : 'pubrec')
  expect(answer.messageId).toBe(messageId)
  expect(answer.reasonCode ?? 0).toBeLessThan(0x80)
  if (qos === 1) return
  client.send({ cmd: 'pubrel', messageId })
  expect(await client.nextOf('pubcomp')).toMatchObject({ messageId })
}

/** Publishes many messages in one write and returns when all handshakes are over. */
export async function deliverAll (client: RawClient, messages: readonly { topic: string, payload: string, qos: QoS }[]): Promise<void> {
  client.send(...messages.map(({ topic, payload, qos }) => publish(topic, payload, { qos, ...(qos > 0 && { messageId: freshId(client) }) })))
  let open = messages.filter(({ qos }) => qos > 0).length
  if (open === 0) await client.flushed()
  while (open > 0) {
    const packet = await client.next()
    if (packet.cmd === 'pubrec') client.send({ cmd: 'pubrel', messageId: packet.messageId ?? 0 })
    if (packet.cmd === 'puback' || packet.cmd === 'pubcomp') open--
  }
}

/**
 * Answers everything and returns the messages, in the order in which they came: so many of them, or all before the one
 * with this payload. The handshakes of QoS 2 are brought to their end; what comes meanwhile stays unanswered.
 */
export async function receive (client: RawClient, until: number | string = 'end'): Promise<IPublishPacket[]> {
  const messages: IPublishPacket[] = []
  const unreleased = new Set<number>()
  let ended = until === 0
  while (!ended || unreleased.size > 0) {
    const packet = await client.next()
    if (packet.cmd === 'pubrel') {
      unreleased.delete(packet.messageId ?? 0)
      client.send({ cmd: 'pubcomp', messageId: packet.messageId ?? 0 })
    }
    if (packet.cmd !== 'publish' || ended) continue
    const { qos, messageId = 0 } = packet
    if (qos === 1) client.send({ cmd: 'puback', messageId })
    if (qos === 2) {
      client.send({ cmd: 'pubrec', messageId })
      // The same identifier again is the same message again.
      if (unreleased.has(messageId)) continue
      unreleased.add(messageId)
    }
    if (packet.payload.toString() === until) ended = true
    else messages.push(packet)
    if (messages.length === until) ended = true
  }
  return messages
}

/** The next `count` messages, which stay unanswered. */
export async function take (client: RawClient, count: number): Promise<IPublishPacket[]> {
  const messages: IPublishPacket[] = []
  while (messages.length < count) messages.push(await client.nextOf('publish'))
  return messages
}

export function payloadsOf (messages: readonly IPublishPacket[]): string[] {
  return messages.map(({ payload }) => payload.toString())
}

/** Fails when the server sends this client anything but answers to PINGREQ, after `others` have been served. */
export async function expectQuiet (client: RawClient, ...others: RawClient[]): Promise<void> {
  for (let round = 0; round < 3; round++) {
    for (const other of others) await other.flushed()
    expect(await client.flushed()).toEqual([])
  }
}

/** DISCONNECT, and the end of the connection. */
export async function leave (client: RawClient, properties?: { sessionExpiryInterval: number }): Promise<void> {
  client.send({ cmd: 'disconnect', ...(client.version === 5 && { reasonCode: 0, ...(properties && { properties }) }) })
  await client.closed()
}

/** `count` names with a number at their end, counted from 1. */
export function numbered (name: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${name}${i + 1}`)
}
