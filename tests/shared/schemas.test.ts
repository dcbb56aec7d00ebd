// What each message schema takes and refuses, with the line that its sender reads.
import { describe, expect, test } from 'vitest'
import type { z } from 'zod'
import {
  BareDelta, Envelope, firstIssue, Id, isMethod, LotState, MAX_BAYS, MAX_CAPACITY, MAX_DELTA_CARS, MAX_HOLD_SECONDS, NewLot, Plate, READ_ONLY, Reply, REQUESTS,
  RequestId, SensorBays, SensorDelta, SensorRecount, Timestamp
} from '../../shared/schemas.js'

/** The parsed value, or the first issue as its sender reads it. */
function parse (schema: z.ZodType, value: unknown): unknown {
  const parsed = schema.safeParse(value)
  return parsed.success ? parsed.data : firstIssue(parsed.error)
}

const refused = (schema: z.ZodType, value: unknown): string | null => {
  const parsed = schema.safeParse(value)
  return parsed.success ? null : firstIssue(parsed.error)
}

const by = { sensor: 'gate-1', epoch: 3, seq: 42 }

test.each([
  [REQUESTS.reserve, { lot: 'A' }, 'plate: is missing'],
  [REQUESTS.reserve, { lot: 'A', plate: '' }, 'plate: must not be empty'],
  [REQUESTS.reserve, { lot: 'A', plate: 'A'.repeat(17) }, 'plate: must have at most 16 characters'],
  [REQUESTS.reserve, { lot: 'A', plate: 'A', holdSeconds: MAX_HOLD_SECONDS + 1 }, `holdSeconds: must be at most ${MAX_HOLD_SECONDS}`],
  [REQUESTS.list, { limit: 0 }, 'limit: must be at least 1'],
  [NewLot, { lot: 'A', capacity: -3 }, 'capacity: must be at least 0']
])('%# what is wrong is said in words', (schema: z.ZodType, value, words) => expect(refused(schema, value)).toBe(words))

describe('a sensor message', () => {
  test.each([
    [SensorDelta, { ...by, delta: 1 }],
    [SensorDelta, { ...by, delta: -1, plate: 'ABC123', at: '2026-11-21T08:00:00Z' }],
    [SensorDelta, { ...by, delta: MAX_DELTA_CARS, at: '2026-11-21T08:00:00.123+01:00' }],
    [SensorRecount, { ...by, occupied: 37 }],
    [SensorRecount, { ...by, occupied: -4 }],
    [SensorBays, { ...by, bays: { 'A-001': 'taken', 'A-002': 'free', 'A-003': 'unknown' } }],
    [SensorBays, { ...by, bays: {} }],
    [BareDelta, -1]
  ])('%# is taken as it is', (schema: z.ZodType, message) => expect(parse(schema, message)).toEqual(message))

  test('loses keys that this version does not know', () => {
    expect(parse(SensorDelta, { ...by, delta: 1, battery: 90 })).toEqual({ ...by, delta: 1 })
  })

  test.each([
    [SensorDelta, { ...by, delta: 1.5 }, /^delta: /],
    [SensorDelta, { ...by, delta: '1' }, /^delta: .*expected number/],
    [SensorDelta, { ...by, delta: MAX_DELTA_CARS + 1 }, /^delta: /],
    [SensorDelta, { ...by, delta: 1e300 }, /^delta: /],
    [SensorDelta, { ...by }, /^delta: /],
    [SensorDelta, { ...by, delta: 1, sensor: 'gate/1' }, /^sensor: must match \[A-Za-z0-9\]/],
    [SensorDelta, { ...by, delta: 1, epoch: -1 }, /^epoch: /],
    [SensorDelta, { ...by, delta: 1, seq: 0.5 }, /^seq: /],
    [SensorDelta, { ...by, delta: 1, seq: Number.MAX_SAFE_INTEGER + 1 }, /^seq: /],
    [SensorDelta, { ...by, delta: 1, at: 'yesterday' }, /^at: /],
    [SensorDelta, { ...by, delta: 1, at: '2026-11-21T08:00:00' }, /^at: /],
    [SensorDelta, { ...by, delta: 1, plate: '<b>' }, /^plate: must be 1 to 16/],
    [SensorRecount, { ...by, occupied: MAX_CAPACITY + 1 }, /^occupied: /],
    [SensorBays, { ...by, bays: { 'A-001': 'full' } }, /^bays\.A-001: /],
    [SensorBays, { ...by, bays: { 'A/1': 'free' } }, /^bays/],
    [SensorBays, { ...by, bays: [] }, /^bays: /],
    [SensorBays, { ...by, bays: Object.fromEntries(Array.from({ length: MAX_BAYS + 1 }, (_, i) => [`B${i}`, 'free'])) }, /^bays: names more than 5000 bays/],
    [BareDelta, 0.1, /int/],
    [BareDelta, Number.NaN, /expected number/],
    [BareDelta, Number.POSITIVE_INFINITY, /expected number/],
    [SensorDelta, null, /expected object/],
    [SensorDelta, [1], /expected object/]
  ])('%# is refused and its field named', (schema: z.ZodType, message, issue) => expect(refused(schema, message)).toMatch(issue))

  test('cannot reach the prototype of an object', () => {
    const message = JSON.parse('{"sensor":"a","epoch":1,"seq":1,"bays":{"__proto__":"taken","A-001":"free"}}') as unknown
    const { bays } = parse(SensorBays, message) as SensorBays
    expect([Object.keys(bays), Object.getPrototypeOf(bays)]).toEqual([['A-001'], Object.prototype])
    const named = parse(SensorBays, { ...by, bays: { constructor: 'taken' } }) as SensorBays
    expect(Object.hasOwn(named.bays, 'constructor')).toBe(true)
  })
})

describe('ids, plates, request ids and times', () => {
  test.each([
    ['abc-123', 'ABC123'], [' ABC 123 ', 'ABC123'], ['m.xy 1', 'MXY1'], ['ÖL 42', 'ÖL42'], ['京都', '京都']
  ])('the plate %j is kept as %j', (plate, kept) => expect(parse(Plate, plate)).toBe(kept))
  test.each(['', '   ', '-', 'A'.repeat(17), 'A;DROP', 'A\nB', 'A/B', 7])('%j is no plate', plate => expect(refused(Plate, plate)).not.toBeNull())

  test.each(['0123456789abcdef', 'A_-'.repeat(20), 'x'.repeat(64)])('%s is a request id', id => expect(parse(RequestId, id)).toBe(id))
  test.each(['short', 'x'.repeat(15), 'x'.repeat(65), '0123456789abcde!', 'é'.repeat(20)])('%s is no request id', id =>
    expect(refused(RequestId, id)).toBe('must be 16 to 64 letters, digits, _ or -'))

  test('an id is refused with the pattern that it must match', () => expect(refused(Id, 'a b')).toBe('must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}'))
  test('a time needs an offset or Z', () => expect([refused(Timestamp, '2026-11-21T08:00:00'), refused(Timestamp, '2026-11-21T08:00:00Z')]).toEqual([expect.any(String), null]))
})

describe('a new lot', () => {
  test('has defaults', () => {
    expect(parse(NewLot, { lot: 'LOT-A', capacity: 10 })).toEqual({
      lot: 'LOT-A', capacity: 10, buffer: 0, counting: 'sensors', bays: [], baysCover: false, tariff: 'standard', open: true
    })
  })

  test.each([
    [{ lot: 'LOT-A' }, /^capacity: /],
    [{ lot: 'LOT A', capacity: 1 }, /^lot: must match/],
    [{ lot: 'LOT-A', capacity: -1 }, /^capacity: /],
    [{ lot: 'LOT-A', capacity: MAX_CAPACITY + 1 }, /^capacity: /],
    [{ lot: 'LOT-A', capacity: 10, buffer: 11 }, /^buffer: must not be above the capacity/],
    [{ lot: 'LOT-A', capacity: 10, bays: ['A', 'A'] }, /^bays: names a bay twice/],
    [{ lot: 'LOT-A', capacity: 10, baysCover: true }, /^bays: baysCover needs the list of bays/],
    [{ lot: 'LOT-A', capacity: 10, counting: 'guessing' }, /^counting: /],
    [{ lot: 'LOT-A', capacity: 10, occupied: -1 }, /^occupied: /],
    [{ lot: 'LOT-A', capacity: 10, name: '' }, /^name: /],
    // Half a surrogate pair: what SQLite's driver gives back of it ends the process.
    [{ lot: 'LOT-A', capacity: 10, name: 'a\ud800b' }, /^name: must be Unicode text/],
    [{ lot: 'LOT-A', capacity: 10, name: 'a\0b' }, /^name: must be Unicode text/]
  ])('%j is refused', (lot, issue) => expect(refused(NewLot, lot)).toMatch(issue))
})

describe('a request body', () => {
  test.each(['a\udfff', '\0'])('has no text that is none: %j', text => {
    expect(refused(REQUESTS.get, { reservation: text })).toMatch(/^reservation: must be Unicode text/)
    expect(refused(REQUESTS.list, { after: text })).toMatch(/^after: must be the `next`/)
    expect(refused(Envelope, { correlation: text })).toMatch(/^correlation: must be Unicode text/)
    expect(refused(Envelope, { replyTo: `replies/${text}` })).toMatch(/^replyTo: must be/)
    expect(refused(Envelope, { correlation: 'grüße, 🅿️' })).toBeNull()
  })

  test.each([
    ['reserve', { lot: 'LOT-A', plate: 'ABC123', holdSeconds: 60 }],
    ['cancel', { reservation: 'R-1', secret: 's' }],
    ['cancel', { lot: 'LOT-A', plate: 'ABC123' }],
    ['arrive', { lot: 'LOT-A', plate: 'ABC123' }],
    ['get', { reservation: 'R-1' }],
    ['recount', { lot: 'LOT-A', occupied: 5 }],
    ['lot.set', { lot: 'LOT-A', capacity: 5 }],
    ['ping', {}]
  ] as const)('of %s is taken', (method, body) => expect(parse(REQUESTS[method], body)).toEqual(body))

  test.each([
    ['reserve', { lot: 'LOT-A' }, /^plate: /],
    ['reserve', { lot: 'LOT-A', plate: 'ABC', holdSeconds: 0 }, /^holdSeconds: /],
    ['reserve', { lot: 'LOT-A', plate: 'ABC', holdSeconds: MAX_HOLD_SECONDS + 1 }, /^holdSeconds: /],
    ['reserve', { lot: 'LOT-A', plate: 'ABC', holdSeconds: 1.5 }, /^holdSeconds: /],
    ['cancel', {}, /needs \{reservation\} or \{lot, plate\}/],
    ['cancel', { lot: 'LOT-A' }, /needs \{reservation\} or \{lot, plate\}/],
    ['get', { reservation: 'x'.repeat(65) }, /^reservation: /],
    ['list', { limit: 0 }, /^limit: /],
    ['list', { limit: 1_001 }, /^limit: /],
    ['list', { status: 'parked' }, /^status: /],
    ['recount', { lot: 'LOT-A', occupied: -1 }, /^occupied: /],
    ['lots', 'all', /expected object/]
  ] as const)('of %s as %j is refused', (method, body, issue) => expect(refused(REQUESTS[method], body)).toMatch(issue))

  test('may carry the envelope of MQTT 3.1.1, with a topic that may receive replies', () => {
    const envelope = { requestId: '0123456789abcdef', replyTo: 'replies/me', correlation: 'c' }
    expect(parse(Envelope, envelope)).toEqual(envelope)
    expect(refused(Envelope, { replyTo: 'lots/LOT-A/free' })).toMatch(/^replyTo: must be a topic under replies/)
    expect(refused(Envelope, { correlation: 'c'.repeat(257) })).toMatch(/^correlation: /)
  })

  test('belongs to a method that is known by its own name only', () => {
    expect(['reserve', 'lot.add', 'ping'].every(isMethod)).toBe(true)
    expect(['toString', '__proto__', 'constructor', 'Reserve', ''].some(isMethod)).toBe(false)
  })

  test('changes something unless its method only reads', () => {
    expect(Object.keys(REQUESTS).filter(name => isMethod(name) && !READ_ONLY.has(name))).toEqual([
      'reserve', 'book', 'change', 'extend', 'wait', 'buyPermit', 'cancel', 'arrive', 'depart', 'lot.add', 'lot.set', 'lot.open', 'lot.close', 'lot.remove', 'recount'
    ])
  })
})

describe('what the services publish', () => {
  test.each([
    [{ ok: true, result: { id: 'R-1' } }, true],
    [{ ok: false, error: { code: 'lot_full', message: 'no place' } }, true],
    [{ ok: false, result: {} }, false],
    [{ ok: true, error: { code: 'x', message: 'y' } }, false],
    [{ ok: 'yes', result: 1 }, false]
  ])('%j as a reply: %s', (reply, good) => expect(Reply.safeParse(reply).success).toBe(good))

  test('a state names all its fields', () => {
    const state = { lot: 'LOT-A', name: 'A', capacity: 10, occupied: 1, held: 0, free: 9, open: true, quality: 'live', version: 3, at: '2026-11-21T08:00:00Z', sources: [{ sensor: 'cam-1', said: 'bays', at: '2026-11-21T08:00:00Z' }, { said: 'delta', at: '2026-11-21T07:59:00Z' }] }
    expect(parse(LotState, state)).toEqual(state)
    for (const key of Object.keys(state)) expect(refused(LotState, { ...state, [key]: undefined })).toMatch(new RegExp(`^${key}: `))
  })
})
