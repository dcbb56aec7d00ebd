// What each role may do with reservations and lots, through the whole of parkmq: drivers see and use their own alone,
// operators everybody's, and nobody makes the service write to a topic that is not the asker's.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createRequester } from '../../shared/requester.js'
import { json, startTestApp, testFolder, type TestApp, type TestClient } from '../support/app.js'
import { writeUsers } from '../support/users-file.js'

const PASSWORD = 'a password for tests'

interface Parking extends TestApp {
  /** A connected client of this user. */
  readonly as: (user: string, version?: 4 | 5) => Promise<TestClient>
}

async function startParking (): Promise<Parking> {
  const users = await writeUsers([
    { name: 'alice', role: 'driver', password: PASSWORD },
    { name: 'bob', role: 'driver', password: PASSWORD },
    { name: 'olga', role: 'operator', password: PASSWORD },
    { name: 'bridge', role: 'service', password: PASSWORD },
    { name: 'gate-1', role: 'device', lots: ['LOT-A'], password: PASSWORD },
    { name: 'hall', role: 'display', password: PASSWORD }
  ], join(testFolder(), 'users.yaml'))
  const app = await startTestApp({ settings: { users, lots: [{ lot: 'LOT-A', capacity: 10 }, { lot: 'LOT-B', capacity: 10 }] } })
  return { ...app, as: async (username, version = 5) => await app.connect({ username, password: PASSWORD, version }) }
}

async function reserved (client: TestClient, plate: string): Promise<{ reservation: string, secret: string }> {
  const made = await client.request<{ reservation: string, secret: string }>('reserve', { lot: 'LOT-A', plate })
  expect(made.error).toBeUndefined()
  return made
}

describe('a driver', () => {
  test('uses its own reservation without showing a secret, also from another client', async () => {
    const parking = await startParking()
    const { reservation } = await reserved(await parking.as('alice'), 'A1')
    const elsewhere = await parking.as('alice', 4)
    expect(await elsewhere.request('get', { reservation })).toMatchObject({ plate: 'A1', status: 'held' })
    expect(await elsewhere.request('cancel', { lot: 'LOT-A', plate: 'A1' })).toMatchObject({ reservation, status: 'cancelled' })
  })

  test.each(['get', 'cancel', 'arrive', 'depart'])('cannot %s another\'s, knowing its id', async method => {
    const parking = await startParking()
    const alice = await parking.as('alice')
    const { reservation } = await reserved(alice, 'A1')
    const bob = await parking.as('bob')
    expect(await bob.request(method, { reservation })).toMatchObject({ error: 'not_yours' })
    expect(await bob.request(method, { reservation, secret: 'a guess' })).toMatchObject({ error: 'not_yours' })
    expect(await alice.request('get', { reservation })).toMatchObject({ status: 'held' })
  })

  test.each(['cancel', 'arrive', 'depart'])('cannot find out by %s whether a car has a place', async method => {
    const parking = await startParking()
    await reserved(await parking.as('alice'), 'A1')
    const bob = await parking.as('bob')
    const there = await bob.request(method, { lot: 'LOT-A', plate: 'A1' })
    const notThere = await bob.request(method, { lot: 'LOT-A', plate: 'B2' })
    expect(there).toEqual({ ...notThere, message: String(notThere.message).replace('B2', 'A1') })
    expect(there.error).toBe('unknown_reservation')
  })

  test('may use another\'s whose secret was given to it', async () => {
    const parking = await startParking()
    const { reservation, secret } = await reserved(await parking.as('alice'), 'A1')
    const bob = await parking.as('bob')
    expect(await bob.request('cancel', { reservation, secret })).toMatchObject({ status: 'cancelled' })
  })

  test('lists its own alone, page by page and whatever it asks for', async () => {
    const parking = await startParking()
    const alice = await parking.as('alice')
    const bob = await parking.as('bob')
    for (const plate of ['A1', 'A2', 'A3']) await reserved(alice, plate)
    for (const plate of ['B1', 'B2']) await reserved(bob, plate)
    const plates: string[] = []
    for (let after: string | undefined; ;) {
      const page = await bob.request<{ reservations: { plate: string }[], next?: string }>('list', { limit: 1, ...after !== undefined && { after } })
      plates.push(...page.reservations.map(({ plate }) => plate))
      after = page.next
      if (after === undefined) break
    }
    expect(plates.sort()).toEqual(['B1', 'B2'])
    expect(await bob.request('list', { plate: 'A1' })).toEqual({ reservations: [] })
    expect(await bob.request('list', { lot: 'LOT-A', status: 'held' })).toMatchObject({ reservations: [{}, {}] })
  })

  test.each([
    ['lot.add', { lot: 'LOT-X', capacity: 1 }], ['lot.set', { lot: 'LOT-A', capacity: 1 }], ['lot.open', { lot: 'LOT-A' }], ['lot.close', { lot: 'LOT-A' }],
    ['lot.remove', { lot: 'LOT-B' }], ['recount', { lot: 'LOT-A', occupied: 5 }], ['clients', {}], ['stats', {}], ['audit', {}]
  ])('may not %s', async (method, body) => {
    const parking = await startParking()
    const before = await parking.app.ledger.allLots()
    const answer = await (await parking.as('alice')).request(method, body)
    expect(answer).toMatchObject({ error: 'not_allowed', message: `${method} is not for the role driver` })
    expect(await parking.app.ledger.allLots()).toEqual(before)
  })

  test('gets no stored reply of another user who chose the same requestId', async () => {
    const parking = await startParking()
    const body = { lot: 'LOT-A', plate: 'A1', requestId: randomBytes(16).toString('hex') }
    const first = await (await parking.as('alice')).request('reserve', body)
    const second = await (await parking.as('bob')).request('reserve', body)
    expect(second.error).toBeUndefined()
    expect([second.reservation, second.secret]).not.toContain(first.reservation)
    expect(second.secret).not.toBe(first.secret)
  })
})

describe('replies', () => {
  /** Sends a request by hand and waits until it is acknowledged. */
  async function ask (client: TestClient, version: 4 | 5, responseTopic: string, plate: string): Promise<unknown> {
    const body = { lot: 'LOT-A', plate }
    const [payload, properties] = version === 5 ? [body, { responseTopic, correlationData: Buffer.from('x') }] : [{ ...body, replyTo: responseTopic }, undefined]
    return await client.mqtt.publishAsync('requests/reserve', JSON.stringify(payload), { qos: 1, ...properties && { properties } }).catch((error: unknown) => error)
  }

  test.each([4, 5] as const)('go nowhere but under the asker\'s own base, and what asked for it is not done (version %i)', async version => {
    const parking = await startParking()
    const watching = await parking.as('bridge')
    const everything: string[] = []
    watching.mqtt.on('message', topic => everything.push(topic))
    await watching.subscribe('some/#', 'lots/+/free', 'replies/#')
    const alice = await parking.as('alice', version)
    for (const topic of ['replies/bob/x', 'replies/alicex/x', 'replies/alice', 'replies/', 'some/where', 'lots/LOT-A/free', 'requests/ping', '$SYS/x', ...version === 4 ? ['replies/alice/#', 'replies/alice\u0000/x'] : []]) {
      const outcome = await ask(alice, version, topic, 'A1')
      if (version === 5) expect(outcome).toMatchObject({ code: expect.any(Number) as number })
    }
    expect(await (await parking.as('olga')).request('list')).toEqual({ reservations: [] })
    expect(everything).not.toContainEqual(expect.stringMatching(/^(replies\/(bob|alice)|some)/))
    expect(everything.filter(topic => topic === 'lots/LOT-A/free')).toHaveLength(1)
    await ask(alice, version, 'replies/alice/mine', 'A1')
    await watching.until('a free place less', ({ topic, text }) => topic === 'lots/LOT-A/free' && text === '9')
  })

  test.each([4, 5] as const)('of the requester come to the user\'s own topics (version %i)', async version => {
    const parking = await startParking()
    const olga = await parking.as('olga', version)
    expect(await olga.request('ping')).toMatchObject({ service: 'reservation' })
  })
})

describe('an operator', () => {
  test('sees and uses everybody\'s reservations and lots', async () => {
    const parking = await startParking()
    const { reservation } = await reserved(await parking.as('alice'), 'A1')
    await reserved(await parking.as('bob'), 'B1')
    const olga = await parking.as('olga')
    expect(await olga.request('list')).toMatchObject({ reservations: [{}, {}] })
    expect(await olga.request('cancel', { lot: 'LOT-A', plate: 'B1' })).toMatchObject({ status: 'cancelled' })
    expect(await olga.request('arrive', { reservation })).toMatchObject({ status: 'arriving' })
    expect(await olga.request('lot.close', { lot: 'LOT-B' })).toMatchObject({ open: false })
    expect(await olga.request('clients')).toMatchObject({ more: 0 })
  })
})

describe('whoever may make no requests', () => {
  test.each(['gate-1', 'hall'])('%s gets none answered', async user => {
    const parking = await startParking()
    const client = await parking.as(user)
    const refused = await client.mqtt.publishAsync('requests/reserve', '{"lot":"LOT-A","plate":"X"}', { qos: 1, properties: { responseTopic: `replies/${user}/x` } }).catch((error: unknown) => error)
    expect(refused).toMatchObject({ code: 0x87 })
    expect(await (await parking.as('olga')).request('list')).toEqual({ reservations: [] })
  })
})

test.each([['gate-1', 4], ['hall', 5]] as const)('%s is told why it gets no replies (version %i)', async (user, version) => {
  const parking = await startParking()
  const { mqtt } = await parking.as(user, version)
  await expect(createRequester(mqtt)).rejects.toMatchObject({ code: 'request_refused', message: expect.stringContaining('devices and displays may make no requests') as string })
})

describe('a device', () => {
  const delta = (sensor: string): string => JSON.stringify({ sensor, epoch: 1, seq: 1, delta: 1 })

  test('speaks for its own lot alone', async () => {
    const parking = await startParking()
    const gate = await parking.as('gate-1')
    expect(await gate.mqtt.publishAsync('lots/LOT-B/sensor', '1', { qos: 1 }).catch((error: unknown) => error)).toMatchObject({ code: 0x87 })
    await gate.publish('lots/LOT-A/sensor', '1')
    const lots = await (await parking.as('olga')).request<{ lots: { lot: string, occupied: number }[] }>('lots')
    expect(lots.lots.map(({ lot, occupied }) => [lot, occupied])).toEqual([['LOT-A', 1], ['LOT-B', 0]])
  })

  test('speaks as itself and as what is called after it, and cannot push another sensor aside', async () => {
    const parking = await startParking()
    const gate = await parking.as('gate-1')
    for (const sensor of ['gate-2', 'gate-10', 'gate-1x', 'Gate-1', 'gate-1-north']) {
      expect(await gate.mqtt.publishAsync('lots/LOT-A/sensor', delta(sensor), { qos: 1 }).catch((error: unknown) => error)).toMatchObject({ code: 0x87 })
    }
    for (const sensor of ['gate-1', 'gate-1.north', 'gate-1.south']) await gate.publish('lots/LOT-A/sensor', delta(sensor))
    await (await parking.as('bridge')).publish('lots/LOT-A/sensor', delta('gate-2'))
    const olga = await (await parking.as('olga')).subscribe('lots/LOT-A/state')
    expect(json((await olga.until('4 cars', ({ text }) => json(text).occupied === 4)).text)).toMatchObject({ occupied: 4, quality: 'live' })
  })
})
