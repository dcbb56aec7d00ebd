// Log-ins: who is who, what a refusal tells and what it does not, and that guessing is slow for the guesser alone.
import { writeFileSync } from 'node:fs'
import { stringify } from 'yaml'
import { describe, expect, test } from 'vitest'
import { createLogin, type Attempt, type Login, type LoginEvent, type Verdict } from '../../broker/login.js'
import { hashPassword } from '../../broker/password.js'
import type { Users } from '../../broker/users.js'
import { ANONYMOUS } from '../../shared/access.js'
import { systemClock, type Clock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import { counterValues, type Metrics } from '../../shared/metrics.js'
import { afterThisTest } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'
import { writeUsers, type TestUser } from '../support/users-file.js'
import { openTestUsers, usersFile } from '../support/users.js'

const PASSWORD = 'correct horse'
const GATE: TestUser = { name: 'gate-1', role: 'device', lots: ['LOT-A'], password: PASSWORD }
const OLGA: TestUser = { name: 'olga', role: 'operator', password: 'battery staple', certificate: 'Olga Operator' }

interface Opened {
  readonly login: Login
  readonly users: Users
  readonly file: string
  readonly metrics: Metrics
  readonly told: LoginEvent[]
  readonly logged: () => string
  /** A log-in over the network; its address is 10.0.0.1 unless it says otherwise. */
  readonly check: (attempt: Partial<Omit<Attempt, 'password'>> & { password?: string | Uint8Array | null }) => Promise<Verdict>
}

async function open ({ entries = [GATE, OLGA], settings = {}, clock = systemClock }: { entries?: TestUser[], settings?: Record<string, unknown>, clock?: Clock } = {}): Promise<Opened> {
  const file = await usersFile(entries)
  const { users, log, metrics, text } = await openTestUsers(file, clock)
  const told: LoginEvent[] = []
  const login = createLogin({ users, config: Config.parse(settings), clock, report: { log, metrics }, onLogin: event => told.push(event) })
  afterThisTest(() => login.close())
  const check: Opened['check'] = ({ password = null, ...attempt }) => login.check({
    username: null, address: '10.0.0.1', clientId: 'c', certificateName: null, ...attempt, password: typeof password === 'string' ? Buffer.from(password) : password
  })
  return { login, users, file, metrics, told, check, logged: text }
}

const refusal = (verdict: Verdict): string | null => 'refused' in verdict ? verdict.refused : null
const userOf = (verdict: Verdict): string | null => 'identity' in verdict ? verdict.identity.user : null

/** Lets everything happen that needs no time: also hashes, which are cheap here. */
async function wrongs (opened: Opened, count: number, attempt: Partial<Attempt> = {}): Promise<void> {
  for (let i = 0; i < count; i++) expect(refusal(await opened.check({ username: 'gate-1', ...attempt, password: `wrong ${i}` }))).toBe('bad_credentials')
}

describe('who is let in', () => {
  test('a user with the right password is that user', async () => {
    const { check, told, metrics } = await open()
    expect(await check({ username: 'gate-1', password: PASSWORD })).toMatchObject({ identity: { user: 'gate-1', role: 'device', lots: ['LOT-A'] } })
    expect(await check({ username: 'olga', password: Buffer.from('battery staple') })).toMatchObject({ identity: { user: 'olga', role: 'operator', lots: [] } })
    expect(told).toEqual(['gate-1', 'olga'].map(user => ({ user, address: '10.0.0.1', clientId: 'c', outcome: 'password' })))
    expect((await counterValues(metrics))['parkmq_logins_total{outcome=password}']).toBe(2)
  })

  test('nobody else is, and all hear the same', async () => {
    const { check, told } = await open({ entries: [GATE, { name: 'carla', role: 'driver' }] })
    const said = await Promise.all([
      check({ username: 'gate-1', password: 'wrong', address: '1.0.0.1' }), check({ username: 'gate-1', password: '', address: '1.0.0.2' }), check({ username: 'gate-1', address: '1.0.0.3' }),
      check({ username: 'GATE-1', password: PASSWORD, address: '1.0.0.4' }), check({ username: 'nobody', password: PASSWORD, address: '1.0.0.5' }), check({ username: '', password: PASSWORD, address: '1.0.0.6' }),
      check({ username: 'constructor', password: PASSWORD, address: '1.0.0.7' }), check({ username: '__proto__', password: PASSWORD, address: '1.0.0.8' }),
      check({ username: 'carla', password: 'has only a certificate', address: '1.0.0.9' }), check({ username: 'gate-1', password: `${PASSWORD}${'x'.repeat(1_024)}`, address: '1.0.0.10' })
    ])
    expect(new Set(said.map(verdict => JSON.stringify(verdict)))).toEqual(new Set([JSON.stringify({ refused: 'bad_credentials', words: 'wrong user name or password' })]))
    expect(told.every(({ outcome }) => outcome === 'bad_credentials')).toBe(true)
  })

  test('who gives no name is nobody, or a display where that is allowed', async () => {
    expect(refusal(await (await open()).check({}))).toBe('not_authorized')
    expect(refusal(await (await open()).check({ password: PASSWORD }))).toBe('not_authorized')
    const { check } = await open({ settings: { allowAnonymous: true } })
    expect(await check({})).toMatchObject({ identity: ANONYMOUS })
    expect(refusal(await check({ username: 'gate-1', password: 'wrong' }))).toBe('bad_credentials')
  })

  test('a certificate needs no password, for the user that it is', async () => {
    const { check, told } = await open()
    expect(userOf(await check({ certificateName: 'Olga Operator' }))).toBe('olga')
    expect(userOf(await check({ certificateName: 'Olga Operator', username: 'olga' }))).toBe('olga')
    expect(userOf(await check({ certificateName: 'gate-1' }))).toBe('gate-1')
    expect(told.map(({ outcome }) => outcome)).toEqual(['certificate', 'certificate', 'certificate'])
    expect(refusal(await check({ certificateName: 'Olga Operator', username: 'gate-1' }))).toBe('bad_credentials')
    expect(userOf(await check({ certificateName: 'Olga Operator', username: 'gate-1', password: PASSWORD }))).toBe('gate-1')
    for (const certificateName of ['olga', 'nobody', '', '__proto__']) expect(refusal(await check({ certificateName }))).toBe('not_authorized')
    expect(userOf(await check({ certificateName: 'nobody', username: 'gate-1', password: PASSWORD }))).toBe('gate-1')
  })
})

describe('a user that changes', () => {
  const change = async ({ users, file }: Opened, entries: readonly TestUser[]): Promise<void> => {
    await writeUsers(entries, file)
    expect(await users.reload()).toBe(true)
  }

  test('is asked for the new password, also after being remembered', async () => {
    const opened = await open()
    for (let i = 0; i < 2; i++) expect(userOf(await opened.check({ username: 'gate-1', password: PASSWORD }))).toBe('gate-1')
    await change(opened, [{ ...GATE, password: 'another' }])
    expect(refusal(await opened.check({ username: 'gate-1', password: PASSWORD }))).toBe('bad_credentials')
    expect(userOf(await opened.check({ username: 'gate-1', password: 'another' }))).toBe('gate-1')
    await change(opened, [OLGA])
    expect(refusal(await opened.check({ username: 'gate-1', password: 'another' }))).toBe('bad_credentials')
    await change(opened, [OLGA, { name: 'gate-1', role: 'driver', password: 'third' }])
    expect(refusal(await opened.check({ username: 'gate-1', password: 'another' }))).toBe('bad_credentials')
    expect(await opened.check({ username: 'gate-1', password: 'third' })).toMatchObject({ identity: { role: 'driver', lots: [] } })
  })

  test('while the password is being computed is judged as it is then', async () => {
    const opened = await open()
    const entry = async (password: string): Promise<object> => ({ name: 'slow', role: 'driver', password: await hashPassword(password, 'chosen') })
    writeFileSync(opened.file, stringify({ users: [await entry(PASSWORD)] }))
    await opened.users.reload()
    const after = stringify({ users: [await entry('another')] })
    const verdict = opened.check({ username: 'slow', password: PASSWORD })
    writeFileSync(opened.file, after)
    await opened.users.reload()
    expect(refusal(await verdict)).toBe('bad_credentials')
  })
})

describe('wrong passwords', () => {
  test('slow down their address: the right password waits as well, and then is taken', async () => {
    const clock = new ManualClock()
    const opened = await open({ clock })
    await wrongs(opened, 3, { username: 'nobody' })
    const answered: string[] = []
    const right = opened.check({ username: 'gate-1', password: PASSWORD }).then(verdict => {
      answered.push('delayed')
      return verdict
    })
    // Another address has not failed, and is served meanwhile.
    expect(userOf(await opened.check({ username: 'olga', password: 'battery staple', address: '10.0.0.2' }))).toBe('olga')
    clock.advance(249)
    expect(userOf(await opened.check({ username: 'olga', password: 'battery staple', address: '10.0.0.2' }))).toBe('olga')
    expect(answered).toEqual([])
    clock.advance(1)
    expect(userOf(await right)).toBe('gate-1')
  })

  test('slow down their user name from wherever they come, but not the user who was there before', async () => {
    const clock = new ManualClock()
    const opened = await open({ clock })
    expect(userOf(await opened.check({ username: 'gate-1', password: PASSWORD, address: '10.0.0.9' }))).toBe('gate-1')
    for (let i = 0; i < 3; i++) await wrongs(opened, 1, { address: `10.0.1.${i}` })
    const elsewhere = opened.check({ username: 'gate-1', password: PASSWORD, address: '10.0.1.77' })
    expect(userOf(await opened.check({ username: 'gate-1', password: PASSWORD, address: '10.0.0.9' }))).toBe('gate-1')
    expect(opened.told.at(-1)?.address).toBe('10.0.0.9')
    clock.advance(250)
    expect(userOf(await elsewhere)).toBe('gate-1')
  })

  test('of another user at the same address do not lock out who was there before', async () => {
    const opened = await open({ clock: new ManualClock() })
    expect(userOf(await opened.check({ username: 'olga', password: 'battery staple' }))).toBe('olga')
    await wrongs(opened, 3)
    expect(userOf(await opened.check({ username: 'olga', password: 'battery staple' }))).toBe('olga')
  })

  test('cannot be tried quickly for a user who was there before either', async () => {
    const clock = new ManualClock()
    const opened = await open({ clock })
    expect(userOf(await opened.check({ username: 'gate-1', password: PASSWORD }))).toBe('gate-1')
    const tries = Array.from({ length: 50 }, (_, i) => opened.check({ username: 'gate-1', password: `guess ${i}` }))
    // It is the right one at last, and it does not get round the delay that the guesses have earned.
    let isAnswered = false
    const right = opened.check({ username: 'gate-1', password: PASSWORD }).then(verdict => {
      isAnswered = true
      return verdict
    })
    expect((await Promise.all(tries.slice(0, 3))).map(refusal)).toEqual(['bad_credentials', 'bad_credentials', 'bad_credentials'])
    expect(isAnswered).toBe(false)
    clock.advance(8_000)
    expect(refusal(await right)).toBe('too_many')
    expect(new Set((await Promise.all(tries)).map(refusal))).toEqual(new Set(['bad_credentials', 'too_many']))
  })
})

describe('a flood of log-ins', () => {
  test('does not keep another address waiting: it is served before the third of the flood', async () => {
    const clock = new ManualClock()
    const { check, told } = await open({ clock })
    const flood = Array.from({ length: 1_000 }, (_, i) => check({ username: `user-${i}`, password: `wrong ${i}`, address: '6.6.6.6' }))
    expect(userOf(await check({ username: 'gate-1', password: PASSWORD, address: '10.0.0.2' }))).toBe('gate-1')
    const before = told.slice(0, told.findIndex(({ outcome }) => outcome === 'password'))
    expect(before.filter(({ outcome }) => outcome === 'bad_credentials').length).toBeLessThan(3)
    // The first failures are free; then nobody of the flood is answered, and so can try again, before the time.
    await Promise.all(flood.slice(0, 3))
    expect(told.length).toBe(4)
    clock.advance(8_000)
    expect((await Promise.all(flood.slice(-900))).every(verdict => refusal(verdict) === 'too_many')).toBe(true)
  })

  test('on one user name does not keep that user waiting who comes from elsewhere', async () => {
    const clock = new ManualClock()
    const { check } = await open({ clock })
    for (let i = 0; i < 10; i++) {
      expect(refusal(await check({ username: 'gate-1', password: `wrong ${i}`, address: '6.6.6.6' }))).toBe('bad_credentials')
      clock.advance(5_000)
    }
    expect(userOf(await check({ username: 'gate-1', password: PASSWORD, address: '10.0.0.2' }))).toBe('gate-1')
  })

  test('of what cannot be anybody waits like any other', async () => {
    const clock = new ManualClock()
    const { check, told } = await open({ clock })
    const tries = [{ username: '__proto__', password: 'x' }, { username: 'gate-1' }, { username: 'gate-1', password: 'x'.repeat(2_000) }, { username: 'two words', password: 'x' }, { username: 'gate-1', password: PASSWORD }]
    const all = tries.map(async attempt => await check(attempt))
    await Promise.all(all.slice(0, 3))
    await new Promise(setImmediate)
    expect(told.length).toBe(3)
    clock.advance(250)
    expect(refusal(await (all[3] ?? Promise.reject(new Error('no try'))))).toBe('bad_credentials')
    await new Promise(setImmediate)
    expect(told.length).toBe(4)
    clock.advance(500)
    expect(userOf(await (all[4] ?? Promise.reject(new Error('no try'))))).toBe('gate-1')
  })

  test('of many addresses is served in turn', async () => {
    const { check, told } = await open({ settings: { times: { loginDelayMs: 0 } } })
    const all = ['1.1.1.1', '2.2.2.2', '3.3.3.3', '4.4.4.4'].flatMap(address => Array.from({ length: 3 }, () => check({ username: 'gate-1', password: 'wrong', address })))
    await Promise.all(all)
    const order = told.map(({ address }) => address)
    // Two at once: an address may be one turn ahead of another, never two.
    for (let n = 1; n <= order.length; n++) {
      const served = ['1.1.1.1', '2.2.2.2', '3.3.3.3', '4.4.4.4'].map(address => order.slice(0, n).filter(one => one === address).length)
      expect(Math.max(...served) - Math.min(...served)).toBeLessThanOrEqual(2)
    }
  })

  test('is over for whoever waits too long', async () => {
    const clock = new ManualClock()
    const { check } = await open({ clock, settings: { times: { loginDelayMs: 60_000 } } })
    for (let i = 0; i < 12; i++) {
      expect(refusal(await check({ username: 'gate-1' }))).toBe('bad_credentials')
      clock.advance(60_000)
    }
    expect(refusal(await check({ username: 'gate-1' }))).toBe('bad_credentials')
    const tired = check({ username: 'gate-1', password: PASSWORD })
    clock.advance(8_000)
    expect(refusal(await tired)).toBe('too_many')
  })

  test('is over for all when the broker stops', async () => {
    const clock = new ManualClock()
    const { login, check } = await open({ clock })
    for (let i = 0; i < 3; i++) await check({ username: 'gate-1' })
    const waiting = Array.from({ length: 10 }, () => check({ username: 'gate-1', password: PASSWORD }))
    login.close()
    expect((await Promise.all(waiting)).map(refusal)).toEqual(Array.from({ length: 10 }, () => 'too_many'))
    // What is left is the look at the users file.
    expect(clock.waiting).toBe(1)
  })

  test('does not check what comes from a connection that is gone', async () => {
    const clock = new ManualClock()
    const opened = await open({ clock })
    await wrongs(opened, 3)
    const gone = new AbortController()
    const left = opened.check({ username: 'gate-1', password: PASSWORD, signal: gone.signal })
    gone.abort()
    expect('refused' in await left).toBe(true)
    expect('refused' in await opened.check({ username: 'gate-1', password: PASSWORD, signal: gone.signal })).toBe(true)
    expect(opened.told.slice(-2).map(({ outcome }) => outcome)).toEqual(['gone', 'gone'])
    clock.advance(250)
    expect(opened.told.filter(({ outcome }) => outcome === 'password')).toEqual([])
  })
})

test('nothing that is logged or told has a password in it, or a name that is none', async () => {
  const opened = await open()
  const long = 'x'.repeat(65)
  await opened.check({ username: 'gate-1', password: PASSWORD })
  await wrongs(opened, 2)
  for (const username of [long, 'two words', 'a\nb', 'hunter2/secret']) expect(refusal(await opened.check({ username, password: 'hunter3', address: '10.0.0.8' }))).toBe('bad_credentials')
  expect(opened.told.slice(-4).map(({ user }) => user)).toEqual([null, null, null, null])
  const all = `${opened.logged()}${JSON.stringify(opened.told)}`
  expect(all).toContain('gate-1')
  for (const secret of [PASSWORD, 'wrong 0', 'hunter', long, 'two words']) expect(all).not.toContain(secret)
})
