// What every Bus must do, whatever broker is behind it: one suite for the embedded broker and for mosquitto. Packets are
// looked at on their way, so that "not acknowledged yet" is seen and not guessed.
import { randomBytes } from 'node:crypto'
import type { IPublishPacket, MqttClient } from 'mqtt'
import type { IPubackPacket } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { ACCEPTED, type Bus, type Consumer, type Delivery, type Outcome } from '../../shared/bus.js'
import { UnavailableError, type ErrorCode } from '../../shared/errors.js'
import { counterValues, type Metrics } from '../../shared/metrics.js'
import { connectMqtt, endMqtt, type ConnectOptions } from '../../shared/mqtt-client.js'
import { AcceptingConsumer, afterThisTest, ManualConsumer } from '../support/broker.js'
import type { ManualClock } from '../support/clock.js'
import type { PacketProxy, Seen } from '../support/packet-proxy.js'

export interface BusUnderTest {
  readonly bus: Bus
  /** The Bus's own clock. */
  readonly clock: ManualClock
  readonly metrics: Metrics
  /** Where the PUBACKs that follow an outcome pass: between sender and embedded broker, or between external broker and Bus. */
  readonly proxy: PacketProxy
  /** Where senders and subscribers connect. */
  readonly url: string
  /** First level of all topics of this test. */
  readonly root: string
  /** Closes the Bus: afterwards nothing of it is open. Safe to call twice. */
  close (): Promise<void>
}

export interface BusKind {
  /**
   * Whether the sender's own PUBACK follows the outcome. An external broker acknowledges to the sender by itself, before
   * the Bus has the message; then it is the Bus's PUBACK to that broker that follows the outcome.
   */
  readonly acknowledgesTo: 'sender' | 'broker'
  /** Whether it knows its clients, and tells when the connection of one has ended. */
  readonly knowsClients: boolean
  /** A Bus of its own for one test; the test closes it. */
  open (): Promise<BusUnderTest>
}

export function busContract (name: string, kind: BusKind): void {
  const deliveriesTo = kind.acknowledgesTo === 'sender' ? 'broker' : 'client'
  const acksTo = kind.acknowledgesTo === 'sender' ? 'client' : 'broker'

  async function open (): Promise<BusUnderTest> {
    const opened = await kind.open()
    afterThisTest(() => opened.close())
    return opened
  }

  const pubacks = ({ proxy }: BusUnderTest): Seen[] => proxy.passed(acksTo, 'puback')
  const delivered = async ({ proxy }: BusUnderTest, count: number): Promise<Seen[]> => await proxy.until(deliveriesTo, 'publish', count)
  const acknowledged = async ({ proxy }: BusUnderTest, count: number): Promise<IPubackPacket[]> =>
    (await proxy.until(acksTo, 'puback', count)).map(({ packet }) => packet as IPubackPacket)

  /** What was sent before this has passed when it resolves. */
  async function roundTrips (at: BusUnderTest): Promise<void> {
    const client = await connect(at)
    for (let i = 0; i < 5; i++) await client.unsubscribeAsync(`${at.root}/nothing`)
  }

  describe(`Bus over ${name}`, () => {
    test('acknowledges a message only when its outcome is told', async () => {
      const at = await open()
      const consumer = new ManualConsumer()
      await at.bus.consume(`${at.root}/+/sensor`, consumer)
      const sender = await connect(at)
      const sent = sender.publishAsync(`${at.root}/LOT-A/sensor`, '1', { qos: 1 })
      const batch = await consumer.batch(0)
      await roundTrips(at)
      expect(pubacks(at)).toHaveLength(0)
      batch.settle()
      await acknowledged(at, 1)
      await sent
    })

    test('hands over what arrived during a commit as one batch, in order', async () => {
      const at = await open()
      const consumer = new ManualConsumer()
      await at.bus.consume(`${at.root}/+/sensor`, consumer)
      const first = await connect(at)
      const rest = await connect(at)
      send(first, `${at.root}/LOT-A/sensor`, ['first'])
      const held = await consumer.batch(0)
      const payloads = Array.from({ length: 40 }, (_, i) => `${i}`)
      send(rest, `${at.root}/LOT-A/sensor`, payloads)
      await delivered(at, 41)
      await roundTrips(at)
      held.settle()
      const arrived = (await consumer.batch(1)).deliveries.map(text)
      // A connection may be read in parts; that they are few and in order is what counts.
      expect(arrived.length).toBeGreaterThan(10)
      expect(arrived).toEqual(payloads.slice(0, arrived.length))
      consumer.batches[1]?.settle()
      await drain(consumer, 2, () => pubacks(at).length === 41)
    })

    test('keeps the order of one sender over many batches', async () => {
      const at = await open()
      const consumer = new AcceptingConsumer()
      await at.bus.consume(`${at.root}/+/sensor`, consumer)
      const payloads = Array.from({ length: 1_000 }, (_, i) => `${i}`)
      send(await connect(at), `${at.root}/LOT-A/sensor`, payloads)
      await consumer.delivery(999)
      expect(consumer.deliveries.map(text)).toEqual(payloads)
      await acknowledged(at, 1_000)
    })

    test('hands over one by one where that is asked for, and acknowledges in the order of the messages whichever is settled first', async () => {
      const at = await open()
      const manual = new ManualConsumer()
      await at.bus.consume(`${at.root}/+/picture`, { atOnce: true, handle: async batch => await manual.handle(batch) })
      send(await connect(at), `${at.root}/c/picture`, ['a', 'b', 'c'])
      const [a, b, c] = [await manual.batch(0), await manual.batch(1), await manual.batch(2)]
      expect([a, b, c].map(({ deliveries }) => deliveries.map(text))).toEqual([['a'], ['b'], ['c']])
      c.settle([{ type: 'refused', refusal: { code: 'bad_message', message: 'the third' } }])
      await roundTrips(at)
      expect(pubacks(at)).toHaveLength(0)
      a.settle()
      await acknowledged(at, 1)
      b.settle()
      expect((await acknowledged(at, 3)).map(packet => packet.reasonCode ?? 0)).toEqual([0, 0, 0x99])
    })

    test.runIf(kind.acknowledgesTo === 'sender')('tells who publishes what its consumer refuses', async () => {
      const at = await open()
      await at.bus.consume(`${at.root}/+/sensor`, { handle: async batch => batch.map(() => ({ type: 'refused', refusal: { code: 'unknown_bay', message: 'no B-9' } })) })
      await expect(at.bus.publish(`${at.root}/LOT-A/sensor`, '1')).rejects.toMatchObject({ code: 'refused', refusal: { code: 'unknown_bay', message: 'no B-9' } })
    })

    test('acknowledges each message by its own outcome, refusals with an MQTT 5 reason', async () => {
      const at = await open()
      const codes: readonly (ErrorCode | null)[] = [null, 'bad_message', 'unknown_lot', 'not_allowed', 'over_limit', 'internal', null]
      const outcomes = codes.map((code): Outcome => code === null ? ACCEPTED : { type: 'refused', refusal: { code, message: 'because \u0000 ü' } })
      await at.bus.consume(`${at.root}/+/sensor`, { handle: async batch => batch.map(one => outcomes[Number(text(one))] ?? ACCEPTED) })
      const sender = await connect(at)
      send(sender, `${at.root}/LOT-A/sensor`, codes.map((_, i) => `${i}`))
      const packets = await acknowledged(at, codes.length)
      expect(packets.map(packet => packet.reasonCode ?? 0)).toEqual([0, 0x99, 0x90, 0x87, 0x97, 0x83, 0])
      expect(packets[1]?.properties?.reasonString).toMatch(/^bad_message: because/)
      // No MQTT string may have it [MQTT-1.5.4-2]; who gets one closes the connection.
      expect(packets[1]?.properties?.reasonString).not.toContain('\u0000')
    })

    test('takes a poison message out and leaves the others unharmed', async () => {
      const at = await open()
      const handled: string[] = []
      await at.bus.consume(`${at.root}/+/sensor`, {
        async handle (batch) {
          if (batch.some(one => text(one) === 'poison')) throw new Error('cannot handle this')
          handled.push(...batch.map(text))
          return batch.map(() => ACCEPTED)
        }
      })
      send(await connect(at), `${at.root}/LOT-A/sensor`, ['a', 'b', 'poison', 'c'])
      const packets = await acknowledged(at, 4)
      expect(packets.map(packet => packet.reasonCode ?? 0)).toEqual([0, 0, 0x83, 0])
      expect(handled).toEqual(['a', 'b', 'c'])
      expect(await counterValues(at.metrics)).toMatchObject({ [`parkmq_messages_poison_total{filter=${at.root}/+/sensor}`]: 1 })
    })

    test('holds a message while the ledger is unavailable and tries it again', async () => {
      const at = await open()
      let failures = 2
      await at.bus.consume(`${at.root}/+/sensor`, {
        async handle (batch) {
          if (failures-- > 0) throw new UnavailableError('the disk is full', { cause: null })
          return batch.map(() => ACCEPTED)
        }
      })
      send(await connect(at), `${at.root}/LOT-A/sensor`, ['1'])
      await at.clock.armed()
      await roundTrips(at)
      expect(pubacks(at)).toHaveLength(0)
      at.clock.advance(100)
      await at.clock.armed()
      at.clock.advance(100)
      await acknowledged(at, 1)
      expect(at.proxy.passed(deliveriesTo, 'publish').filter(on(at, 'LOT-A/sensor'))).toHaveLength(1)
    })

    test('never acknowledges what was held in vain: it comes again, and nothing is lost', async () => {
      const at = await open()
      const stored: string[] = []
      const abandoned: string[] = []
      let available = false
      const consumer: Consumer = {
        holdMs: 0,
        async handle (batch) {
          if (!available) throw new UnavailableError('the disk is full', { cause: null })
          stored.push(...batch.map(text))
          return batch.map(() => ACCEPTED)
        },
        async abandon (batch) {
          abandoned.push(...batch.map(text))
          available = true
        }
      }
      await at.bus.consume(`${at.root}/+/sensor`, consumer)
      const sender = await connect(at, { reconnect: true, clean: false, sessionExpirySeconds: 60 })
      const payloads = ['1', '2', '3', '4', '5']
      const sent = payloads.map(async payload => await sender.publishAsync(`${at.root}/LOT-A/sensor`, payload, { qos: 1 }))
      await Promise.all(sent)
      const acks = await at.proxy.until(acksTo, 'puback', 5)
      expect(abandoned.length).toBeGreaterThan(0)
      expect([...new Set(stored)].sort()).toEqual(payloads)
      // Whatever was abandoned has one PUBACK in all, on a later connection than the one that it came on.
      const firstOn = at.proxy.passed(deliveriesTo, 'publish').find(on(at, 'LOT-A/sensor'))?.connection ?? 0
      const again = acks.filter(({ connection }) => connection > firstOn)
      expect(again.length).toBeGreaterThanOrEqual(abandoned.length)
    })

    test('gets a message again when the connection is cut before the outcome, and sends no old acknowledgement', async () => {
      const at = await open()
      const consumer = new ManualConsumer()
      await at.bus.consume(`${at.root}/+/sensor`, consumer)
      const sender = await connect(at, { reconnect: true, clean: false, sessionExpirySeconds: 60 })
      const sent = sender.publishAsync(`${at.root}/LOT-A/sensor`, '1', { qos: 1 })
      const lost = await consumer.batch(0)
      at.proxy.cut()
      await at.proxy.until(deliveriesTo, 'publish', at.proxy.passed(deliveriesTo, 'publish').length + 1)
      await roundTrips(at)
      lost.settle()
      const again = await consumer.batch(1)
      expect(again.deliveries.map(text)).toEqual(['1'])
      await roundTrips(at)
      expect(pubacks(at)).toHaveLength(0)
      again.settle()
      await acknowledged(at, 1)
      await sent
      expect(pubacks(at)).toHaveLength(1)
    })

    test('makes one delivery of a QoS 2 message', async () => {
      const at = await open()
      const consumer = new AcceptingConsumer()
      await at.bus.consume(`${at.root}/+/sensor`, consumer)
      const sender = await connect(at)
      await sender.publishAsync(`${at.root}/LOT-A/sensor`, 'twice?', { qos: 2 })
      await sender.publishAsync(`${at.root}/LOT-A/sensor`, 'last', { qos: 1 })
      await consumer.delivery(1)
      expect(consumer.deliveries.map(text)).toEqual(['twice?', 'last'])
    })

    test('takes the topics that match its filter and no others', async () => {
      const at = await open()
      const [sensors, requests] = [new AcceptingConsumer(), new AcceptingConsumer()]
      await at.bus.consume(`${at.root}/lots/+/sensor`, sensors)
      await at.bus.consume(`${at.root}/requests/#`, requests)
      const sender = await connect(at)
      for (const topic of ['lots/A/sensor', 'lots/A/B/sensor', 'lots/A/sensors', 'lots/A/sensor/x', 'requests/ping', 'requests', 'lots/B/sensor', 'requests/a/b']) {
        await sender.publishAsync(`${at.root}/${topic}`, topic, { qos: 1 })
      }
      await Promise.all([sensors.delivery(1), requests.delivery(2)])
      await roundTrips(at)
      expect(sensors.deliveries.map(text)).toEqual(['lots/A/sensor', 'lots/B/sensor'])
      expect(requests.deliveries.map(text)).toEqual(['requests/ping', 'requests', 'requests/a/b'])
    })

    test('refuses a second consumer of the same filter', async () => {
      const at = await open()
      await at.bus.consume(`${at.root}/a`, new AcceptingConsumer())
      await expect(at.bus.consume(`${at.root}/a`, new AcceptingConsumer())).rejects.toThrow(/consumer already/)
    })

    test.each([
      ['binary', Buffer.from([0, 0xff, 0xfe, 0xc3, 0x28, 10, 13])],
      ['empty', Buffer.alloc(0)],
      ['of 100 kB', randomBytes(100_000)]
    ])('carries a payload that is %s byte for byte, in and out', async (_, payload) => {
      const at = await open()
      const consumer = new AcceptingConsumer()
      await at.bus.consume(`${at.root}/in`, consumer)
      const client = await connect(at)
      await client.publishAsync(`${at.root}/in`, payload, { qos: 1 })
      const delivery = await consumer.delivery(0)
      expect(Buffer.compare(Buffer.from(delivery.payload), payload)).toBe(0)
      const received = nextMessage(client, `${at.root}/out`)
      await client.subscribeAsync(`${at.root}/out`, { qos: 1 })
      await at.bus.publish(`${at.root}/out`, new Uint8Array(payload))
      expect(Buffer.compare((await received).payload as Buffer, payload)).toBe(0)
    })

    test('shows a consumer the properties of a message', async () => {
      const at = await open()
      const consumer = new AcceptingConsumer()
      await at.bus.consume(`${at.root}/in`, consumer)
      const correlationData = Buffer.from([0, 1, 0xff, 0xfe, 0])
      const client = await connect(at)
      await client.publishAsync(`${at.root}/in`, '{}', {
        qos: 1,
        properties: { responseTopic: 'replies/me', correlationData, contentType: 'application/json', payloadFormatIndicator: true, userProperties: { a: '1', b: ['2', '3'] } }
      })
      const { properties, qos, dup, receivedAtMs } = await consumer.delivery(0)
      expect({ ...properties, correlationData: Buffer.from(properties.correlationData ?? []), userProperties: { ...properties.userProperties } }).toEqual({
        responseTopic: 'replies/me', correlationData, contentType: 'application/json', payloadFormatIndicator: 1, userProperties: { a: '1', b: ['2', '3'] }
      })
      expect({ qos, dup, receivedAtMs }).toEqual({ qos: 1, dup: false, receivedAtMs: at.clock.nowMs() })
    })

    test(kind.knowsClients ? 'tells when the connection of a message has ended' : 'claims nothing of connections that it does not know', async () => {
      const at = await open()
      const consumer = new AcceptingConsumer()
      await at.bus.consume(`${at.root}/in`, consumer)
      const client = await connect(at, { clientId: 'one', clean: false, sessionExpirySeconds: 60 })
      await client.publishAsync(`${at.root}/in`, '1', { qos: 1 })
      const { gone, clientId } = await consumer.delivery(0)
      expect([clientId, gone?.aborted]).toEqual(kind.knowsClients ? ['one', false] : [undefined, undefined])
      const told = gone && new Promise(resolve => gone.addEventListener('abort', resolve))
      await endMqtt(client)
      await told
      await connect(at, { clientId: 'one', clean: false, sessionExpirySeconds: 60 })
      expect(gone?.aborted).toBe(kind.knowsClients || undefined)
    })

    test('publishes with properties, byte for byte, and retains', async () => {
      const at = await open()
      const correlationData = Uint8Array.from([0, 0xff, 7])
      await at.bus.publish(`${at.root}/free`, '41', { retain: true })
      await at.bus.publish(`${at.root}/free`, '42', {
        retain: true,
        properties: { correlationData, contentType: 'text/plain', payloadFormatIndicator: 1, userProperties: { replayed: 'true' } }
      })
      const client = await connect(at)
      const received = nextMessage(client, `${at.root}/free`)
      await client.subscribeAsync(`${at.root}/free`, { qos: 1 })
      const { payload, retain, properties } = await received
      expect({ text: payload.toString(), retain }).toEqual({ text: '42', retain: true })
      expect(properties?.correlationData).toEqual(Buffer.from(correlationData))
      expect({ ...properties?.userProperties }).toEqual({ replayed: 'true' })
      expect(properties).toMatchObject({ contentType: 'text/plain', payloadFormatIndicator: true })
    })

    test('finishes and acknowledges what it has when it is closed', async () => {
      const at = await open()
      const consumer = new ManualConsumer()
      await at.bus.consume(`${at.root}/in`, consumer)
      send(await connect(at), `${at.root}/in`, ['1'])
      const batch = await consumer.batch(0)
      const closed = at.close()
      batch.settle()
      await closed
      expect(pubacks(at)).toHaveLength(1)
      await expect(at.bus.publish(`${at.root}/out`, '1')).rejects.toThrow(Error)
    })
  })
}

async function connect (at: BusUnderTest, options: ConnectOptions = {}): Promise<MqttClient> {
  const client = await connectMqtt(at.url, options)
  afterThisTest(() => endMqtt(client))
  return client
}

/** Sends without waiting; what is not acknowledged when the test ends does not matter. */
function send (client: MqttClient, topic: string, payloads: readonly string[]): void {
  for (const payload of payloads) client.publish(topic, payload, { qos: 1 }, () => {})
}

function text (delivery: Delivery): string {
  return Buffer.from(delivery.payload).toString()
}

function on (at: BusUnderTest, topic: string): (seen: Seen) => boolean {
  return ({ packet }) => packet.cmd === 'publish' && packet.topic === `${at.root}/${topic}`
}

async function nextMessage (client: MqttClient, topic: string): Promise<IPublishPacket> {
  return await new Promise(resolve => {
    client.on('message', (on, _, packet) => { if (on === topic) resolve(packet) })
  })
}

/** Settles batch after batch until `done`. */
async function drain (consumer: ManualConsumer, from: number, done: () => boolean): Promise<void> {
  for (let number = from; !done(); number++) {
    while (!done() && consumer.batches.length <= number) await new Promise(resolve => setImmediate(resolve))
    consumer.batches[number]?.settle()
  }
}
