// Log-ins and refusals on their way into the audit: few lines with true numbers, in their order, whatever is thrown at it.
import { onTestFinished, describe, expect, test } from 'vitest'
import type { AccessEvent } from '../../shared/access-event.js'
import { Config } from '../../shared/config.js'
import { UnavailableError } from '../../shared/errors.js'
import { counterValues, createMetrics } from '../../shared/metrics.js'
import type { AuditLine } from '../../shared/schemas.js'
import { createAccessAudit, type AccessAudit, type AccessAuditParts } from '../../storage/access-audit.js'
import { auditLines } from '../../storage/audit.js'
import { openLedger } from '../../storage/open.js'
import { testFolder } from '../support/app.js'
import { ManualClock } from '../support/clock.js'
import { keptLog } from '../support/users.js'

interface Opened {
  readonly clock: ManualClock
  readonly audit: AccessAudit
  readonly note: (event?: Partial<AccessEvent>, times?: number) => void
  /** Resolves when so many transactions have ended, well or not. */
  readonly transacted: (count: number) => Promise<void>
  readonly lines: () => Promise<AuditLine[]>
  readonly logged: () => Record<string, unknown>[]
  readonly count: (name: string) => Promise<number>
}

const REFUSED: AccessEvent = { type: 'login.refused', user: 'ann', clientId: 'c', address: '10.0.0.1', why: 'bad_credentials' }

/** `fails` is asked before each transaction what it throws, if anything. */
async function open (fails: () => Error | null = () => null): Promise<Opened> {
  const clock = new ManualClock()
  const metrics = createMetrics()
  const { log, lines: logged } = keptLog()
  const ledger = await openLedger({ config: Config.parse({ data: testFolder() }), clock, metrics })
  onTestFinished(() => ledger.close())
  let ended = 0
  const waiting = new Set<() => void>()
  const transact: AccessAuditParts['ledger']['transact'] = async (service, work) => {
    try {
      const error = fails()
      if (error !== null) throw error
      return await ledger.transact(service, work)
    } finally {
      ended++
      for (const look of waiting) look()
    }
  }
  const audit = createAccessAudit({ ledger: { transact }, clock, log, metrics })
  return {
    clock, audit, logged,
    note: (event = {}, times = 1) => { for (let i = 0; i < times; i++) audit.note({ ...REFUSED, ...event }) },
    transacted: async count => {
      await new Promise<void>(resolve => {
        const look = (): void => { if (ended >= count) resolve() }
        waiting.add(look)
        look()
      })
      // What follows the transaction is done in its turn.
      await new Promise(resolve => setImmediate(resolve))
    },
    lines: async () => (await auditLines(ledger.database, { limit: 10_000 })).lines,
    count: async name => (await counterValues(metrics))[`parkmq_${name}`] ?? 0
  }
}

const timesOf = (lines: readonly AuditLine[]): number => lines.reduce((sum, { after }) => sum + ((after as { times: number } | undefined)?.times ?? 1), 0)

describe('what comes again', () => {
  test('the first is written within a second, its repeats as one line at the end of the minute', async () => {
    const { clock, note, transacted, lines } = await open()
    const at = new Date(clock.nowMs()).toISOString()
    note({}, 3)
    clock.advance(1_000)
    await transacted(1)
    const first = { id: 1, at, type: 'login.refused', who: 'user:ann', address: '10.0.0.1', why: 'bad_credentials' }
    expect(await lines()).toEqual([first])
    clock.advance(9_000)
    note({}, 4_997)
    clock.advance(51_000)
    await transacted(2)
    expect(await lines()).toEqual([first, { ...first, id: 2, at: new Date(Date.parse(at) + 10_000).toISOString(), after: { times: 4_999 } }])
    note()
    clock.advance(1_000)
    await transacted(3)
    expect(timesOf(await lines())).toBe(5_001)
  })

  test('another type, user, address or reason is another kind; another client of the same user is not', async () => {
    const { note, audit, lines } = await open()
    note()
    note({ clientId: 'd' })
    note({ type: 'login.accepted' })
    note({ user: 'bob' })
    note({ address: '10.0.0.2' })
    note({ address: null })
    note({ why: 'too_many' })
    note({ user: null })
    note({ user: null, clientId: null })
    await audit.stop()
    expect((await lines()).map(({ type, who, address, why, after }) => [type, who, address, why, after])).toEqual([
      ['login.refused', 'user:ann', '10.0.0.1', 'bad_credentials', undefined],
      ['login.accepted', 'user:ann', '10.0.0.1', 'bad_credentials', undefined],
      ['login.refused', 'user:bob', '10.0.0.1', 'bad_credentials', undefined],
      ['login.refused', 'user:ann', '10.0.0.2', 'bad_credentials', undefined],
      ['login.refused', 'user:ann', undefined, 'bad_credentials', undefined],
      ['login.refused', 'user:ann', '10.0.0.1', 'too_many', undefined],
      ['login.refused', 'client:c', '10.0.0.1', 'bad_credentials', undefined],
      ['login.refused', 'client', '10.0.0.1', 'bad_credentials', undefined],
      ['login.refused', 'user:ann', '10.0.0.1', 'bad_credentials', { times: 1 }]
    ])
  })
})

describe('too many different ones', () => {
  test('the rest of a minute is one line that says how many', async () => {
    const { audit, note, lines, count } = await open()
    for (let i = 0; i < 5_000; i++) note({ user: null, clientId: `c${i}` })
    await audit.stop()
    const written = await lines()
    expect(written).toHaveLength(101)
    expect(written.at(-1)).toMatchObject({ type: 'login.refused', who: 'others', after: { times: 4_900 } })
    expect(await count('audit_unnamed_total{type=login.refused}')).toBe(4_900)
  })

  test('what strangers do takes no place from users, and one type none from another', async () => {
    const { audit, note, lines } = await open()
    const strangers = [{ type: 'login.refused' }, { type: 'login.accepted', user: null }, { type: 'access.denied', user: null }] as const
    for (const who of strangers) {
      note({ ...who, clientId: 'the first', user: null })
      for (let i = 0; i < 200; i++) note({ ...who, clientId: `c${i}`, ...(who.type === 'login.refused' && { user: `u${i}` }) })
    }
    note({ type: 'login.accepted', user: 'olga', why: 'password' })
    note({ type: 'access.denied', user: 'olga', why: 'publish x' })
    await audit.stop()
    const typesOf = (written: readonly AuditLine[], who: string): string[] => written.filter(line => line.who === who).map(line => line.type)
    const written = await lines()
    expect(typesOf(written, 'client:the first')).toEqual(['login.refused', 'login.accepted', 'access.denied'])
    expect(typesOf(written, 'user:olga')).toEqual(['login.accepted', 'access.denied'])
  })

  test('a new minute has room again', async () => {
    const { clock, audit, note, lines } = await open()
    for (let i = 0; i < 150; i++) note({ user: `u${i}` })
    clock.advance(60_000)
    for (let i = 150; i < 200; i++) note({ user: `u${i}` })
    await audit.stop()
    expect((await lines()).map(line => line.who)).toEqual([...Array.from({ length: 100 }, (_, i) => `user:u${i}`), 'others', ...Array.from({ length: 50 }, (_, i) => `user:u${i + 150}`)])
  })
})

describe('a ledger that cannot be written', () => {
  const broken = new UnavailableError('the ledger is unavailable: on purpose', { cause: null })

  test('delays the lines, keeps their order and times, and is said once', async () => {
    let works = false
    const { clock, note, transacted, lines, logged } = await open(() => works ? null : broken)
    const startMs = clock.nowMs()
    note({ user: 'u1' })
    clock.advance(250)
    await transacted(1)
    note({ user: 'u2' })
    clock.advance(1_000)
    await transacted(2)
    expect(await lines()).toEqual([])
    works = true
    note({ user: 'u3' })
    clock.advance(1_000)
    await transacted(3)
    expect((await lines()).map(line => [line.who, Date.parse(line.at) - startMs])).toEqual([['user:u1', 0], ['user:u2', 250], ['user:u3', 1_250]])
    expect(logged().map(line => line.msg)).toEqual(['log-ins and refusals cannot be written to the audit; they wait', 'log-ins and refusals are written to the audit again'])
  })

  test('for hours fills only so many lines, and the rest is still counted', async () => {
    let works = false
    const { clock, audit, note, lines } = await open(() => works ? null : broken)
    for (let minute = 0; minute < 60; minute++) {
      for (let i = 0; i < 150; i++) note({ user: `u${i}` }, 2)
      clock.advance(60_000)
    }
    works = true
    await audit.stop()
    const written = await lines()
    expect(written.length).toBeLessThan(2_010)
    expect(timesOf(written)).toBe(60 * 150 * 2)
  })

  test('at the end is said with the number of lines, and stop does not wait', async () => {
    const { audit, note, logged, count } = await open(() => broken)
    note()
    note({ user: 'bob' })
    await audit.stop()
    expect(logged().at(-1)).toMatchObject({ level: 50, lines: 2, msg: 'the last lines of the audit could not be written' })
    expect(await count('audit_lost_total')).toBe(2)
  })

  test('a fault of another kind loses its lines, says so, and does not stop the others', async () => {
    let error: Error | null = new Error('a bug')
    const { clock, audit, note, transacted, lines, logged, count } = await open(() => error)
    note()
    clock.advance(250)
    await transacted(1)
    error = null
    note({ user: 'bob' })
    await audit.stop()
    expect((await lines()).map(line => line.who)).toEqual(['user:bob'])
    expect(logged()).toMatchObject([{ level: 50, lines: 1 }])
    expect(await count('audit_lost_total')).toBe(1)
  })
})

test('what a client made is shortened and cannot write on a terminal', async () => {
  const { audit, note, lines } = await open()
  note({ type: 'access.denied', user: null, clientId: `\u001b[2J\u202e\ud800${'x'.repeat(70_000)}`, why: `publish ${'\u{1f697}'.repeat(500)}\u009b` })
  await audit.stop()
  const [line] = await lines()
  expect(line?.who).toMatch(/^client:\?\[2J\?\?x{100,200}\.\.\.$/)
  expect(line?.why).toMatch(/^publish \u{1f697}{90,100}\.\.\.$/u)
})

test('stop twice writes once, and what comes later is counted as lost', async () => {
  const { audit, note, lines, count } = await open()
  note({}, 2)
  await audit.stop()
  await audit.stop()
  note()
  expect(await lines()).toMatchObject([{ id: 1 }, { id: 2, after: { times: 1 } }])
  expect(await count('audit_lost_total')).toBe(1)
})
