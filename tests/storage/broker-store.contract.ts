// What every store of the broker's state must do, whatever it is made of: all of a batch or nothing of it, the same bytes
// back, and what was acknowledged is there after kill -9.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { BrokerChanges, BrokerState, BrokerStore, StoredEntry, StoredMessage, StoredSession, StoredSubscription } from '../../shared/broker-store.js'
import { testFolder } from '../support/app.js'

const NOTHING: BrokerChanges = {
  sessionsGone: [], sessions: [], subscriptions: [], subscriptionsGone: [], messages: new Map(), messagesGone: [], entries: [], entriesGone: [],
  retained: [], retainedGone: [], wills: [], willsGone: [], receipts: [], receiptsGone: []
}
const EMPTY: BrokerState = { sessions: [], subscriptions: [], messages: new Map(), entries: [], retained: [], wills: [], receipts: [] }

/** A batch of changes; what is not named is left as it is. */
export function changes (some: Partial<BrokerChanges>): BrokerChanges {
  return { ...NOTHING, ...some }
}

export function message (some: Partial<StoredMessage> = {}): StoredMessage {
  return { topic: 'lots/LOT-A/events', payload: Buffer.from('{}'), qos: 1, retain: false, properties: Buffer.alloc(0), expiresAtMs: null, from: null, ...some }
}

export function entry (some: Partial<StoredEntry> = {}): StoredEntry {
  return { clientId: 'ann', place: 1, message: 1, qos: 1, retain: false, identifiers: [], group: null, packetId: 0, released: false, ...some }
}

const session = (clientId: string, some: Partial<StoredSession> = {}): StoredSession => ({ clientId, user: null, expirySeconds: 60, disconnectedAtMs: null, ...some })
const subscription = (clientId: string, filter: string, some: Partial<StoredSubscription> = {}): StoredSubscription => (
  { clientId, filter, qos: 1, noLocal: false, retainAsPublished: false, identifier: 0, ...some }
)

/** One of each kind, of the session `clientId`. */
function oneOfEach (clientId: string): BrokerChanges {
  return changes({
    sessions: [session(clientId)],
    subscriptions: [subscription(clientId, 'lots/#')],
    messages: new Map([[1, message()]]),
    entries: [entry({ clientId })],
    retained: [message({ topic: 'lots/LOT-A/free', retain: true })],
    wills: [{ clientId, user: `user of ${clientId}`, message: message({ topic: `sensors/${clientId}/status` }), delaySeconds: 0 }],
    receipts: [{ clientId, packetId: 1 }]
  })
}

/** Small and seeded: when to kill must be repeatable. */
const SEED = Number(process.env.PARKMQ_TEST_SEED ?? Date.now() % 1_000_000)
const ROUNDS = 5
/** Batches of the child whose entries are there at any time. */
const DEPTH = 3

/**
 * Opens a store of its own for each folder. `module` is the address of a compiled module whose `openBrokerStore(folder)`
 * opens the same store in another process.
 */
export function brokerStoreContract (name: string, openIn: (folder: string) => Promise<BrokerStore>, module: string): void {
  describe(`broker store contract on ${name}`, () => {
    const open = async (folder = testFolder()): Promise<BrokerStore> => {
      const store = await openIn(folder)
      onTestFinished(() => store.close())
      return store
    }
    /** What a store of that folder holds when it is opened again. */
    const reopened = async (folder: string): Promise<BrokerState> => {
      const store = await open(folder)
      const state = await store.load()
      await store.close()
      return state
    }
    /** Puts, then asserts what was stored, in this process and when opened again. */
    const holds = async (store: BrokerStore, folder: string, expected: Partial<BrokerState>): Promise<void> => {
      expect(await store.load()).toEqual({ ...EMPTY, ...expected })
      await store.close()
      expect(await reopened(folder)).toEqual({ ...EMPTY, ...expected })
    }

    test('a new store is empty, and so is one that was given nothing', async () => {
      const folder = testFolder()
      const store = await open(folder)
      expect(await store.load()).toEqual(EMPTY)
      await store.write(NOTHING)
      await holds(store, folder, {})
    })

    test('sessions are put, replaced and go', async () => {
      const folder = testFolder()
      const store = await open(folder)
      await store.write(changes({ sessions: [session('b'), session('a', { expirySeconds: 0xffff_ffff, disconnectedAtMs: 1_700_000_000_000 }), session('c')] }))
      await store.write(changes({ sessions: [session('b', { disconnectedAtMs: 5 })], sessionsGone: ['c', 'never there'] }))
      await holds(store, folder, { sessions: [session('a', { expirySeconds: 0xffff_ffff, disconnectedAtMs: 1_700_000_000_000 }), session('b', { disconnectedAtMs: 5 })] })
    })

    test('subscriptions are put, replaced and go, each by its client and filter', async () => {
      const folder = testFolder()
      const store = await open(folder)
      const shared = subscription('ann', '$share/g/lots/+', { qos: 2, noLocal: true, retainAsPublished: true, identifier: 268_435_455 })
      await store.write(changes({ subscriptions: [subscription('ann', 'a'), subscription('ann', 'b'), shared, subscription('bob', 'a'), subscription('bob', 'b')] }))
      await store.write(changes({ subscriptions: [subscription('ann', 'b', { qos: 0 })], subscriptionsGone: [['ann', 'a'], ['bob', 'b']] }))
      await holds(store, folder, { subscriptions: [shared, subscription('ann', 'b', { qos: 0 }), subscription('bob', 'a')] })
    })

    test('messages are put, replaced and go', async () => {
      const folder = testFolder()
      const store = await open(folder)
      const entries = [1, 2, 3].map(n => entry({ place: n, message: n }))
      const full = message({ topic: 't', payload: Buffer.from('new'), qos: 2, retain: true, properties: Buffer.from([0x26, 0, 1, 97, 0, 1, 98]), expiresAtMs: 7, from: 'bob' })
      await store.write(changes({ entries, messages: new Map([[1, message()], [2, message()], [3, message({ qos: 0 })]]) }))
      await store.write(changes({ messages: new Map([[1, full]]), messagesGone: [2] }))
      await holds(store, folder, { entries, messages: new Map([[1, full], [3, message({ qos: 0 })]]) })
    })

    test('entries are put, replaced and go, and come back in the order of the queues', async () => {
      const folder = testFolder()
      const store = await open(folder)
      const messages = new Map([[1, message()]])
      await store.write(changes({ messages, entries: [entry({ clientId: 'bob', place: 2 }), entry({ place: 10 }), entry({ place: 9 }), entry({ place: 2 }), entry({ clientId: 'bob', place: 1 })] }))
      const sent = entry({ place: 2, qos: 2, retain: true, identifiers: [1, 268_435_455], group: 'g', packetId: 65_535, released: true })
      await store.write(changes({ entries: [sent], entriesGone: [['ann', 9], ['bob', 2]] }))
      await holds(store, folder, { messages, entries: [sent, entry({ place: 10 }), entry({ clientId: 'bob', place: 1 })] })
    })

    test('retained messages are put, replaced and go, by topic', async () => {
      const folder = testFolder()
      const store = await open(folder)
      const retained = (topic: string, text: string): StoredMessage => message({ topic, retain: true, payload: Buffer.from(text) })
      await store.write(changes({ retained: [retained('b', '1'), retained('a', '1'), retained('c', '1')] }))
      await store.write(changes({ retained: [retained('b', '2')], retainedGone: ['c', 'never there'] }))
      await holds(store, folder, { retained: [retained('a', '1'), retained('b', '2')] })
    })

    test('wills are put, replaced and go, by client', async () => {
      const folder = testFolder()
      const store = await open(folder)
      await store.write(changes({ wills: ['a', 'b', 'c'].map(clientId => ({ clientId, user: clientId, message: message(), delaySeconds: 0 })) }))
      const will = { clientId: 'b', user: null, message: message({ payload: Buffer.from('offline'), retain: true }), delaySeconds: 0xffff_ffff }
      await store.write(changes({ wills: [will], willsGone: ['c'] }))
      await holds(store, folder, { wills: [{ clientId: 'a', user: 'a', message: message(), delaySeconds: 0 }, will] })
    })

    test('receipts are put, put again and go', async () => {
      const folder = testFolder()
      const store = await open(folder)
      await store.write(changes({ receipts: [1, 2, 65_535].map(packetId => ({ clientId: 'ann', packetId })) }))
      await store.write(changes({ receipts: [{ clientId: 'ann', packetId: 1 }, { clientId: 'bob', packetId: 2 }], receiptsGone: [['ann', 2]] }))
      await holds(store, folder, { receipts: [{ clientId: 'ann', packetId: 1 }, { clientId: 'ann', packetId: 65_535 }, { clientId: 'bob', packetId: 2 }] })
    })

    test('with a session goes all that is its own, except its will and what others have', async () => {
      const folder = testFolder()
      const store = await open(folder)
      await store.write(oneOfEach('ann'))
      const ofBob = oneOfEach('bob')
      await store.write(ofBob)
      await store.write(changes({ sessionsGone: ['ann'] }))
      const { sessions, subscriptions, messages, entries, retained, receipts } = ofBob
      await holds(store, folder, { sessions, subscriptions, messages, entries, retained, receipts, wills: [...oneOfEach('ann').wills, ...ofBob.wills] })
    })

    test('a session may go and begin anew in one batch', async () => {
      const folder = testFolder()
      const store = await open(folder)
      await store.write(changes({ ...oneOfEach('ann'), subscriptions: [subscription('ann', 'old')], receipts: [{ clientId: 'ann', packetId: 9 }], entries: [entry({ place: 9 })], wills: [] }))
      const anew = oneOfEach('ann')
      await store.write({ ...anew, sessionsGone: ['ann'] })
      const { sessions, subscriptions, messages, entries, retained, wills, receipts } = anew
      await holds(store, folder, { sessions, subscriptions, messages, entries, retained, wills, receipts })
    })

    test('messages that no entry needs are cleared away when it loads', async () => {
      const folder = testFolder()
      const store = await open(folder)
      await store.write(changes({ messages: new Map([[1, message()], [2, message()], [3, message()]]), entries: [entry({ message: 2 }), entry({ place: 2, message: 3 })] }))
      await store.write(changes({ entriesGone: [['ann', 2]] }))
      expect([...(await store.load()).messages.keys()]).toEqual([2])
      // Really gone: an entry that names it later does not bring it back.
      await store.write(changes({ entries: [entry({ place: 3, message: 3 })] }))
      expect([...(await store.load()).messages.keys()]).toEqual([2])
    })

    test('bytes, texts and numbers come back as they were', async () => {
      const folder = testFolder()
      const store = await open(folder)
      const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
      const large = Buffer.alloc(1_000_000, every)
      // A view into a larger buffer, as a decoder hands it on.
      const view = new Uint8Array(every.buffer, every.byteOffset + 3, 10)
      const payloads = [Buffer.alloc(0), every, large, view, Buffer.from([0]), Buffer.from([0xff, 0xfe])]
      const most = Number.MAX_SAFE_INTEGER
      const messages = new Map(payloads.map((payload, i) => [most - i, message({ payload, properties: payload, expiresAtMs: most })]))
      const texts = ['', '__proto__', 'constructor', 'straße', 'e\u0301', '\u00e9', '駐車場', '🅿️', '\u{10ffff}', '\ufeffbom', '\u0001', '\'"\\%_', 'ü'.repeat(32_767)]
      const entries = texts.flatMap(clientId => [...messages.keys()].map(number => entry({ clientId, place: number, message: number, group: clientId })))
      const retained = texts.map(topic => message({ topic, from: topic }))
      const subscriptions = texts.map(text => subscription(text, text))
      await store.write(changes({ messages, entries, retained, subscriptions, sessions: [session('s', { disconnectedAtMs: most })] }))
      await store.close()

      const state = await reopened(folder)
      expect(state.messages.size).toBe(payloads.length)
      for (const [i, given] of payloads.entries()) {
        const stored = state.messages.get(most - i)
        expect([stored?.payload, stored?.properties].map(bytes => Buffer.isBuffer(bytes) && bytes.equals(given))).toEqual([true, true])
        expect(stored?.expiresAtMs).toBe(most)
      }
      expect(new Set(state.retained.map(m => m.topic))).toEqual(new Set(texts))
      expect(state.retained.every(m => m.from === m.topic)).toBe(true)
      expect(new Set(state.subscriptions.map(s => s.filter))).toEqual(new Set(texts))
      expect(state.entries).toHaveLength(entries.length)
      expect(state.entries.every(e => e.group === e.clientId)).toBe(true)
      expect(Math.max(...state.entries.map(e => e.place))).toBe(most)
      expect(state.sessions).toEqual([session('s', { disconnectedAtMs: most })])
    })

    test('a batch that cannot be stored changes nothing, and the next is stored', async () => {
      const folder = testFolder()
      const store = await open(folder)
      await store.write(oneOfEach('ann'))
      const before = await store.load()
      // No store can hold a receipt without a number; everything else of the batch could be done.
      const broken = { clientId: 'bob', packetId: null as unknown as number }
      await expect(store.write({ ...oneOfEach('bob'), sessionsGone: ['ann'], retainedGone: ['lots/LOT-A/free'], retained: [], willsGone: ['ann'], wills: [], receipts: [{ clientId: 'bob', packetId: 1 }, broken] })).rejects.toThrow()
      expect(await store.load()).toEqual(before)
      await store.write(changes({ receipts: [{ clientId: 'ann', packetId: 2 }] }))
      await holds(store, folder, { ...before, receipts: [{ clientId: 'ann', packetId: 1 }, { clientId: 'ann', packetId: 2 }] })
    })

    test('batches that are written at the same time are stored in the order of their calls, and a broken one hurts no other', async () => {
      const folder = testFolder()
      const store = await open(folder)
      const written = Array.from({ length: 50 }, async (_, i) => await store.write(changes({ sessions: [session('ann', { expirySeconds: i })], receipts: i === 30 ? [{ clientId: 'ann', packetId: null as unknown as number }] : [{ clientId: 'ann', packetId: i }] })))
      const settled = Promise.allSettled(written)
      const loaded = store.load()
      await store.close()
      expect((await settled).flatMap(({ status }, i) => status === 'rejected' ? [i] : [])).toEqual([30])
      expect(await loaded).toMatchObject({ sessions: [{ expirySeconds: 49 }] })
      expect((await reopened(folder)).receipts).toHaveLength(49)
    })

    test('a batch of many rows lets other work run in between', async () => {
      const store = await open()
      const entries = Array.from({ length: 50_000 }, (_, place) => entry({ place }))
      let turns = 0
      let isDone = false
      const turn = (): void => {
        turns++
        if (!isDone) setImmediate(turn)
      }
      turn()
      await store.write(changes({ entries }))
      isDone = true
      expect(turns).toBeGreaterThan(10)
      expect((await store.load()).entries).toHaveLength(50_000)
    })

    test('closing twice is closing once, and nothing can be stored afterwards', async () => {
      const store = await open()
      await Promise.all([store.close(), store.close()])
      await store.close()
      await expect(store.write(NOTHING)).rejects.toThrow('closed')
      await expect(store.load()).rejects.toThrow('closed')
    })

    // Batch k of the child puts one entry and its message, takes away those of batch k - DEPTH, and says in the session which it was.
    const PROGRAM = `
      import { writeSync } from 'node:fs'
      const [module, folder, start] = process.argv.slice(1)
      const store = await (await import(module)).openBrokerStore(folder)
      const nothing = ${JSON.stringify({ ...NOTHING, messages: undefined })}
      for (let k = Number(start); ; k++) {
        await store.write({
          ...nothing,
          sessions: [{ clientId: 'ann', user: null, expirySeconds: k, disconnectedAtMs: null }],
          messages: new Map([[k, { topic: 't', payload: Buffer.alloc(3000, k), qos: 1, retain: false, properties: Buffer.alloc(0), expiresAtMs: null, from: null }]]),
          messagesGone: [k - ${DEPTH}],
          entries: [{ clientId: 'ann', place: k, message: k, qos: 1, retain: false, identifiers: [], group: null, packetId: 0, released: false }],
          entriesGone: [['ann', k - ${DEPTH}]]
        })
        writeSync(1, k + '\\n')
      }`

    test(`kill -9 while it writes, ${ROUNDS} rounds (seed ${SEED}): what was acknowledged is there, and no half batch`, { timeout: 60_000 }, async () => {
      const folder = testFolder()
      let stored = 0
      for (let round = 0; round < ROUNDS; round++) {
        const killAfter = 100 + (SEED + round * 7_919) % 1_500
        const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM, module, folder, String(stored + 1)], { stdio: ['ignore', 'pipe', 'pipe'] })
        const ended = once(child, 'close') as Promise<[number | null, string | null]>
        onTestFinished(async () => { child.kill('SIGKILL'); await ended })
        let errors = ''
        child.stderr.on('data', (text: Buffer) => { errors += text.toString() })
        let acknowledged = stored
        const lines = createInterface({ input: child.stdout })
        lines.on('line', line => {
          acknowledged = Number(line)
          if (acknowledged === stored + killAfter) child.kill('SIGKILL')
        })
        await Promise.all([ended, once(lines, 'close')])
        expect(errors).toBe('')
        expect(acknowledged).toBeGreaterThanOrEqual(stored + killAfter)

        const state = await reopened(folder)
        stored = state.sessions[0]?.expirySeconds ?? 0
        // The batch that was on its way when it was killed may be there, but then all of it.
        expect([acknowledged, acknowledged + 1]).toContain(stored)
        const alive = Array.from({ length: DEPTH }, (_, i) => stored - DEPTH + 1 + i)
        expect(state.entries.map(e => e.place)).toEqual(alive)
        expect([...state.messages].map(([number, { payload }]) => [number, payload])).toEqual(alive.map(k => [k, Buffer.alloc(3_000, k)]))
      }
    })
  })
}
