// Requests and their replies through a real broker, with a service that the test plays.
import type { MqttClient } from 'mqtt'
import { describe, expect, test } from 'vitest'
import { ACCEPTED, type Delivery, type Outcome } from '../../shared/bus.js'
import { connectMqtt, endMqtt, type ConnectOptions } from '../../shared/mqtt-client.js'
import { BadReplyError, createRequester, type Requester, type RequesterOptions } from '../../shared/requester.js'
import { afterThisTest, startBroker, type TestBroker } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'
import { PacketProxy } from '../support/packet-proxy.js'

interface Asked {
  readonly method: string
  readonly body: Record<string, unknown>
  readonly delivery: Delivery
  /** Sends a reply the way the reservation service does. */
  reply (content: object | string): Promise<void>
}

/** What the service does with the nth request that it gets, counted from 0. */
type Service = (asked: Asked, n: number) => Promise<Outcome | void> | Outcome | void

interface Setting {
  readonly broker: TestBroker
  readonly proxy: PacketProxy
  readonly client: MqttClient
  readonly requester: Requester
  readonly clock: ManualClock
  readonly asked: Asked[]
  /** Resolves when the service has got `count` requests. */
  readonly requests: (count: number) => Promise<void>
}

const OK = { ok: true, result: { service: 'parkmq' } }
const UNAVAILABLE = { ok: false, error: { code: 'unavailable', message: 'the disk is full' } }

async function start (service: Service, options: RequesterOptions = {}, connection: ConnectOptions = {}): Promise<Setting> {
  const asked: Asked[] = []
  const wakes = new Set<() => void>()
  const broker = await startBroker()
  await broker.bus.consume('requests/+', {
    handle: async batch => await Promise.all(batch.map(async delivery => {
      const one = askedIn(broker, delivery)
      asked.push(one)
      for (const wake of wakes) wake()
      return await service(one, asked.length - 1) ?? ACCEPTED
    }))
  })
  const proxy = await PacketProxy.open(broker.port)
  afterThisTest(() => proxy.close())
  const client = await connectMqtt(proxy.url, connection)
  afterThisTest(() => endMqtt(client))
  const clock = new ManualClock()
  const requester = await createRequester(client, { clock, ...options })
  afterThisTest(() => requester.close())
  return {
    broker, proxy, client, requester, clock, asked,
    requests: async count => await new Promise(resolve => {
      const look = (): void => { if (asked.length >= count) resolve() }
      wakes.add(look)
      look()
    })
  }
}

function askedIn ({ bus }: TestBroker, delivery: Delivery): Asked {
  const body = JSON.parse(Buffer.from(delivery.payload).toString()) as Record<string, unknown>
  const { responseTopic, correlationData } = delivery.properties
  return {
    method: delivery.topic.slice('requests/'.length),
    body,
    delivery,
    async reply (content) {
      const text = typeof content === 'string' ? content : JSON.stringify(body.correlation === undefined ? content : { ...content, correlation: body.correlation })
      await bus.publish(responseTopic ?? body.replyTo as string, text, { properties: { ...correlationData && { correlationData } } })
    }
  }
}

const answer = async (asked: Asked): Promise<void> => await asked.reply(OK)

describe('a request', () => {
  test.each([5, 4] as const)('of an MQTT %i client is answered', async version => {
    const { requester, asked } = await start(answer, {}, { version, clientId: 'driver/1' })
    expect(await requester.request('reserve', { lot: 'LOT-A', plate: 'ABC 123' })).toEqual(OK)
    const [{ delivery, body, method } = {} as Asked] = asked
    expect({ method, lot: body.lot, plate: body.plate }).toEqual({ method: 'reserve', lot: 'LOT-A', plate: 'ABC 123' })
    const responseTopic = version === 5 ? delivery.properties.responseTopic : body.replyTo
    // What the broker says, where there is a way to say it; such a client id would make two levels of a topic.
    expect(responseTopic).toMatch(version === 5 ? /^replies\/driver\/1\/[A-Za-z0-9_-]{12}$/ : /^replies\/driver_1\/[A-Za-z0-9_-]{12}$/)
    expect(delivery.properties.correlationData?.length).toBe(version === 5 ? 16 : undefined)
    expect('correlation' in body).toBe(version === 4)
  })

  test('hands a refusal over as a value', async () => {
    const refusal = { ok: false, error: { code: 'lot_full', message: 'LOT-A has no free place' } }
    const { requester } = await start(async asked => await asked.reply(refusal))
    expect(await requester.request('reserve', {})).toEqual(refusal)
  })

  test('carries a requestId when it changes something, its caller\'s if it has one, and none when it only reads', async () => {
    const { requester, asked, clock } = await start(answer)
    await requester.request('reserve', {})
    await requester.request('reserve', {})
    await requester.request('reserve', { requestId: 'mine-0123456789abcdef' })
    await requester.request('lots')
    const ids = asked.map(({ body }) => body.requestId)
    expect(ids[0]).toMatch(/^[0-9a-z]{9}-[A-Za-z0-9_-]{16}$/)
    expect(ids[1]).not.toBe(ids[0])
    // The time comes first, so that the index of the stored replies grows at its end.
    expect(parseInt(String(ids[0]), 36)).toBe(clock.nowMs())
    expect(ids.slice(2)).toEqual(['mine-0123456789abcdef', undefined])
  })

  test('gets its own reply when many are open and answered in another order', async () => {
    const open: Asked[] = []
    const { requester } = await start(async asked => {
      open.push(asked)
      if (open.length < 100) return
      for (const one of open.reverse()) void one.reply({ ok: true, result: one.body.n })
    })
    const numbers = Array.from({ length: 100 }, (_, n) => n)
    const replies = await Promise.all(numbers.map(async n => await requester.request('get', { n })))
    expect(replies).toEqual(numbers.map(n => ({ ok: true, result: n })))
  })

  test('ignores replies that it did not ask for', async () => {
    const { requester, broker } = await start(async asked => {
      const topic = asked.delivery.properties.responseTopic ?? ''
      await broker.bus.publish(topic, '{"ok":true,"result":"forged"}', { properties: { correlationData: Buffer.from('guess') } })
      await broker.bus.publish(topic, '{"ok":true,"result":"forged"}')
      await asked.reply(OK)
    })
    expect(await requester.request('ping')).toEqual(OK)
  })

  test.each([[{}, 1], [{ qos: 0 }, 0], [{ qos: 1 }, 1]] as const)('with the options %j travels with its reply at QoS %i', async (options, qos) => {
    const { requester, asked, proxy } = await start(answer, options)
    await requester.request('ping')
    expect(asked.map(({ delivery }) => delivery.qos)).toEqual([qos])
    const publishes = [...proxy.passed('broker', 'publish'), ...proxy.passed('client', 'publish')]
    expect(publishes.map(({ packet }) => packet.cmd === 'publish' && packet.qos)).toEqual([qos, qos])
  })

  test.each([
    ['{"ok":tru', /not JSON/],
    ['{"ok":true,"result":1}x', /not JSON/],
    ['{"ok":false}', /has not the shape/],
    ['42', /has not the shape/],
    ['null', /has not the shape/]
  ])('fails when the reply is %s', async (text, message) => {
    const { requester } = await start(async asked => await asked.reply(text))
    await expect(requester.request('ping')).rejects.toMatchObject({ code: 'bad_reply', message: expect.stringMatching(message) as string })
  })
})

describe('no reply', () => {
  test('is tried again with the same requestId and other Correlation Data, then told with method, time and tries', async () => {
    const { requester, clock, asked, requests } = await start(() => {}, { timeoutMs: 3_000, retries: 2 })
    const failed = expect(requester.request('reserve', { lot: 'LOT-A' })).rejects.toMatchObject({
      code: 'timeout', message: 'no reply to reserve within 3000 ms (sent 3 times): is the reservation service running?'
    })
    for (const count of [1, 2, 3]) {
      await requests(count)
      clock.advance(1_000)
    }
    await failed
    expect(new Set(asked.map(({ body }) => body.requestId)).size).toBe(1)
    expect(new Set(asked.map(({ delivery }) => Buffer.from(delivery.properties.correlationData ?? []).toString('hex'))).size).toBe(3)
  })

  test('to the first try is made good by its late reply', async () => {
    const { requester, clock, asked, requests } = await start(() => {}, { timeoutMs: 2_000, retries: 1 })
    const reply = requester.request('reserve', {})
    await requests(1)
    clock.advance(1_000)
    await requests(2)
    await asked[0]?.reply(OK)
    expect(await reply).toEqual(OK)
  })

  test('in the time of a try brings the next, and the last waits for as long as there is', async () => {
    const { requester, asked, clock, requests } = await start(() => {}, { timeoutMs: 10_000, retries: 2, tryMs: 100 })
    const failed = requester.request('ping').catch((error: unknown) => error)
    for (const [tries, ms] of [[1, 100], [2, 100], [3, 9_799]] as const) {
      await requests(tries)
      clock.advance(ms)
    }
    // The last try is still open.
    expect(await Promise.race([failed, new Promise(resolve => setImmediate(resolve, 'open'))])).toBe('open')
    expect(asked.length).toBe(3)
    clock.advance(1)
    expect(await failed).toMatchObject({ code: 'timeout', message: expect.stringContaining('10000 ms (sent 3 times)') as string })
  })

  test('is told once with no retries', async () => {
    const { requester, clock, requests, asked } = await start(() => {}, { timeoutMs: 500, retries: 0 })
    const failed = expect(requester.request('ping')).rejects.toThrow('no reply to ping within 500 ms (sent 1 time)')
    await requests(1)
    clock.advance(500)
    await failed
    expect(asked).toHaveLength(1)
  })
})

describe('an unavailable ledger', () => {
  test('is tried again after a pause', async () => {
    const { requester, clock, requests, asked } = await start(async (one, n) => await one.reply(n === 0 ? UNAVAILABLE : OK))
    const reply = requester.request('reserve', {})
    await requests(1)
    // The pause is 100 to 200 ms; the limit of a try is longer.
    while (asked.length < 2) {
      await new Promise(resolve => setImmediate(resolve))
      if (clock.waiting > 0) clock.advance(1)
    }
    expect(await reply).toEqual(OK)
    expect(asked[1]?.body.requestId).toBe(asked[0]?.body.requestId)
  })

  test('is told as the service tells it when all tries meet it', async () => {
    const { requester, clock, asked } = await start(async one => await one.reply(UNAVAILABLE), { retries: 2 })
    let reply: unknown
    const told = requester.request('reserve', {}).then(came => { reply = came })
    while (reply === undefined) {
      await new Promise(resolve => setImmediate(resolve))
      if (clock.waiting > 0) clock.advance(1)
    }
    await told
    expect(reply).toEqual(UNAVAILABLE)
    expect(asked).toHaveLength(3)
  })
})

describe('a broker', () => {
  test('that refuses the request is quoted', async () => {
    const { requester, clock, requests } = await start(() => ({ type: 'refused', refusal: { code: 'over_limit', message: 'too many requests' } }))
    const failed = expect(requester.request('reserve', {})).rejects.toMatchObject({ code: 'request_refused', message: expect.stringContaining('Quota exceeded') as string })
    await requests(1)
    while (clock.waiting > 0 && clock.nowMs() < 1_800_000_000_000 + 1_600) {
      await new Promise(resolve => setImmediate(resolve))
      clock.advance(1)
    }
    await failed
  })

  test('that refuses and a service that replies all the same: the reply counts', async () => {
    const { requester } = await start(async asked => {
      void asked.reply({ ok: false, error: { code: 'bad_request', message: 'lot: missing' } })
      return { type: 'refused', refusal: { code: 'bad_request', message: 'lot: missing' } }
    })
    expect(await requester.request('reserve', {})).toMatchObject({ ok: false, error: { code: 'bad_request' } })
  })

  test('that is lost and comes back gets the request again with the same requestId', async () => {
    const { requester, proxy, requests, asked } = await start(async (one, n) => { if (n > 0) await one.reply(OK) }, {}, { reconnect: true })
    const reply = requester.request('reserve', {})
    await requests(1)
    proxy.cut()
    expect(await reply).toEqual(OK)
    expect(asked.length).toBeGreaterThan(1)
    expect(new Set(asked.map(({ body }) => body.requestId)).size).toBe(1)
  })

  test('that is lost for good ends the request at once, and says that its effect is not known', async () => {
    const { requester, proxy, requests } = await start(() => {})
    const failed = expect(requester.request('reserve', {})).rejects.toMatchObject({ code: 'connection_lost', message: expect.stringContaining('not known') as string })
    await requests(1)
    proxy.cut()
    await failed
  })

  test('that does not come back in time is told without a try', async () => {
    const { requester, proxy, client, clock } = await start(answer, { timeoutMs: 300 }, { reconnect: true })
    const lost = new Promise<void>(resolve => { client.once('close', resolve) })
    proxy.cut()
    await lost
    const failed = expect(requester.request('ping')).rejects.toThrow('no connection to the broker within 300 ms: ping was not sent')
    await clock.armed()
    clock.advance(300)
    await failed
  })
})

test('close fails what is open and unsubscribes, and leaves the client connected', async () => {
  const { requester, client, proxy, requests } = await start(() => {})
  const failed = expect(requester.request('reserve', {})).rejects.toMatchObject({ code: 'connection_lost' })
  await requests(1)
  await requester.close()
  await failed
  await requester.close()
  expect(proxy.passed('broker', 'unsubscribe')).toHaveLength(1)
  expect(client.connected).toBe(true)
  await expect(requester.request('ping')).rejects.toMatchObject({ code: 'connection_lost' })
})

describe('a request that is followed', () => {
  const message = (n: number) => ({ ok: true, result: { n } })

  test.each([4, 5] as const)('tells its reply and everything behind it in order, until it is ended, version %i', async version => {
    const { requester, asked, client } = await start(async one => {
      for (let n = 0; n < 5; n++) await one.reply(message(n))
    }, {}, { version })
    const heard: unknown[] = []
    let more = (): void => {}
    const { reply, end } = await requester.follow('monitor', {}, one => {
      heard.push(one)
      more()
    })
    expect(reply).toEqual(message(0))
    while (heard.length < 5) await new Promise<void>(resolve => { more = resolve })
    expect(heard).toEqual([0, 1, 2, 3, 4].map(message))
    // With MQTT 3.1.1 it would be nobody's.
    if (version === 5) {
      await asked[0]?.reply('no JSON')
      while (heard.length < 6) await new Promise<void>(resolve => { more = resolve })
      expect(heard.pop()).toBeInstanceOf(BadReplyError)
    }
    end()
    await asked[0]?.reply(message(9))
    await client.subscribeAsync('anything')
    expect(heard).toHaveLength(5)
  })

  test('hears what comes to any of its tries', async () => {
    const { requester, asked, requests, clock } = await start(async (one, n) => { if (n === 1) await one.reply(message(1)) }, { timeoutMs: 3_000 })
    const heard: unknown[] = []
    let more = (): void => {}
    const following = requester.follow('monitor', {}, one => {
      heard.push(one)
      more()
    })
    await requests(1)
    clock.advance(1_000)
    expect((await following).reply).toEqual(message(1))
    await asked[0]?.reply(message(0))
    while (heard.length < 2) await new Promise<void>(resolve => { more = resolve })
    expect(heard).toEqual([message(1), message(0)])
  })

  test('is over with a refusal, of which it is not told', async () => {
    const refusal = { ok: false, error: { code: 'unknown_lot', message: 'there is no such lot' } }
    const { requester } = await start(async one => { await one.reply(refusal) })
    const heard: unknown[] = []
    expect((await requester.follow('monitor', {}, one => heard.push(one))).reply).toEqual(refusal)
    expect(heard).toEqual([])
  })
})
