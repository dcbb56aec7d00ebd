// `parkmq audit` against a running parkmq with users: who logged in, who was refused and what operators did, with user and
// address, and nothing of that for the public.
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { auditCommand, timeOf } from '../../cli/audit.js'
import { AuditLine } from '../../shared/schemas.js'
import { json, startTestApp, testFolder, type TestApp } from '../support/app.js'
import { writeUsers } from '../support/users-file.js'

const PASSWORDS = { olga: 'operator word', dora: 'driver word', dirk: 'other word' } as const
type Name = keyof typeof PASSWORDS

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  process.exitCode = undefined
})

interface Printed { out: string, err: string, exitCode: typeof process.exitCode }

/** Runs `parkmq audit ...` as the program does, in this process. */
async function audit (url: string, args: readonly string[] = [], user: Name | null = 'olga'): Promise<Printed> {
  const printed: Printed = { out: '', err: '', exitCode: undefined }
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation(text => { printed.out += String(text); return true }),
    vi.spyOn(process.stderr, 'write').mockImplementation(text => { printed.err += String(text); return true })
  ]
  process.exitCode = undefined
  if (user !== null) vi.stubEnv('PARKMQ_PASSWORD', PASSWORDS[user])
  try {
    await auditCommand().exitOverride().parseAsync(['--url', url, ...user === null ? [] : ['--login', user], ...args], { from: 'user' })
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
  return { ...printed, exitCode: process.exitCode }
}

/** The lines that `--json` prints. */
async function audited (url: string, args: readonly string[] = [], user: Name | null = 'olga'): Promise<AuditLine[]> {
  const { out } = await audit(url, ['--json', ...args], user)
  const reply = JSON.parse(out) as { ok: boolean, result: { entries: unknown[] } }
  expect(reply.ok).toBe(true)
  return reply.result.entries.map(line => AuditLine.parse(line))
}

async function startWithUsers (data = testFolder()): Promise<TestApp> {
  const users = await writeUsers([
    { name: 'olga', role: 'operator', password: PASSWORDS.olga }, { name: 'dora', password: PASSWORDS.dora }, { name: 'dirk', password: PASSWORDS.dirk }
  ], join(data, 'users.yaml'))
  return await startTestApp({ data, settings: { users, times: { sysMs: 0 } } })
}

const login = (username: Name, password: string = PASSWORDS[username]) => ({ username, password, clientId: `${username}-1`, version: 5 as const })

/** Waits until the audit has what fits: refusals are written a moment after they were told. */
async function untilAudited (url: string, fits: (line: AuditLine) => boolean): Promise<AuditLine> {
  return await vi.waitFor(async () => {
    const found = (await audited(url)).find(fits)
    if (!found) throw new Error('it is not in the audit')
    return found
  }, { timeout: 10_000, interval: 50 })
}

describe('with users', () => {
  test('a wrong password, a denied publish, another\'s reservation and an operator\'s act are there with user and address', async () => {
    const { url, connect } = await startWithUsers()
    const watcher = await (await connect(login('dirk'))).subscribe('lots/+/events')
    await expect(connect(login('dora', 'secret-guess-1'))).rejects.toThrow()
    const dora = await connect(login('dora'))
    await expect(dora.publish('lots/LOT-A/free', 'payload-1')).rejects.toThrow()
    const { reservation, secret } = await dora.request<{ reservation: string, secret: string }>('reserve', { lot: 'LOT-A', plate: 'PLATE 77' })
    expect(await watcher.request('cancel', { reservation })).toMatchObject({ error: 'not_yours' })
    expect(await dora.request('lot.close', { lot: 'LOT-A' })).toMatchObject({ error: 'not_allowed' })
    const olga = await connect(login('olga'))
    await olga.request('lot.close', { lot: 'LOT-A' })
    await untilAudited(url, line => line.type === 'login.accepted' && line.who === 'user:olga')
    const lines = await audited(url)
    const from = { address: '127.0.0.1' }
    expect(lines).toContainEqual(expect.objectContaining({ type: 'login.refused', who: 'user:dora', why: 'bad_credentials', ...from }))
    expect(lines).toContainEqual(expect.objectContaining({ type: 'login.accepted', who: 'user:dora', why: 'password', ...from }))
    expect(lines).toContainEqual(expect.objectContaining({ type: 'access.denied', who: 'user:dora', why: 'publish lots/LOT-A/free', ...from }))
    expect(lines).toContainEqual(expect.objectContaining({ type: 'access.denied', who: 'user:dora', why: 'publish requests/lot.close: not_allowed', ...from }))
    expect(lines).toContainEqual(expect.objectContaining({ type: 'access.denied', who: 'user:dirk', why: 'request cancel: not_yours', ...from }))
    expect(lines).toContainEqual(expect.objectContaining({ type: 'reservation.held', who: 'user:dora', lot: 'LOT-A', reservation, ...from }))
    expect(lines).toContainEqual(expect.objectContaining({ type: 'lot.closed', who: 'user:olga', lot: 'LOT-A', ...from }))
    // One after the other as they were written.
    expect(lines.map(line => line.id)).toEqual(lines.map(line => line.id).sort((a, b) => a - b))
    for (const told of ['secret-guess-1', 'payload-1', secret, 'PLATE77', ...Object.values(PASSWORDS)]) expect(JSON.stringify(lines)).not.toContain(told)

    // What is public is public: the acts, and not by whom or from where.
    await watcher.until('the closing', message => json(message.text).type === 'lot.closed')
    for (const { text } of watcher.received) {
      expect(Object.keys(json(text)).filter(key => key === 'who' || key === 'address')).toEqual([])
      expect(text).not.toMatch(/127\.0\.0\.1|dora|olga|login|denied/)
    }

    const { out, err, exitCode } = await audit(url, ['--user', 'olga', '--lot', 'LOT-A'])
    const [headings, row, ...rest] = out.trimEnd().split('\n').map(line => line.split(/\s{2,}/))
    expect(headings).toEqual(['TIME', 'TYPE', 'WHO', 'ADDRESS', 'LOT', 'WHAT'])
    expect(row?.slice(1)).toEqual(['lot.closed', 'user:olga', '127.0.0.1', 'LOT-A'])
    expect([rest, err, exitCode]).toEqual([[], '', undefined])
    expect((await audit(url, ['--user', 'dora'])).out).toMatch(/access\.denied\s+user:dora\s+127\.0\.0\.1\s+-\s+publish lots\/LOT-A\/free\n/)
  })

  test('is for operators only', async () => {
    const { url } = await startWithUsers()
    const { out, err, exitCode } = await audit(url, [], 'dora')
    expect([out, exitCode]).toEqual(['', 1])
    expect(err).toMatch(/^refused \(not_allowed\): audit is not for the role driver/)
    await expect(audit(url, ['--user', 'olga'], null)).rejects.toMatchObject({ code: 'login_refused', message: expect.stringContaining('here --login names who logs in') as string })
  })

  test('5,000 refusals are few lines with their true number, also across a stop', async () => {
    const data = testFolder()
    const { app, connect } = await startWithUsers(data)
    const dora = await connect(login('dora'))
    const flood = Array.from({ length: 5_000 }, () => dora.publish('lots/LOT-A/free', '0').catch(() => {}))
    await Promise.all(flood)
    await app.stop()
    const { url } = await startWithUsers(data)
    const lines = (await audited(url, ['--user', 'dora'])).filter(line => line.type === 'access.denied')
    // Two for each minute that it went on.
    expect(lines.length).toBeLessThanOrEqual(6)
    expect(lines.reduce((sum, { after }) => sum + ((after as { times: number } | undefined)?.times ?? 1), 0)).toBe(5_000)
    const { out } = await audit(url, ['--user', 'dora'])
    expect(out).toMatch(/publish lots\/LOT-A\/free, \d+ more times/)
  })
})

describe('without users', () => {
  test('operators\' acts are there with the client and its address; it is read page by page up to the limit', async () => {
    const { url, connect } = await startTestApp()
    const client = await connect({ clientId: 'desk\u202e', version: 5 })
    for (let i = 0; i < 700; i++) void client.request(i % 2 === 0 ? 'lot.close' : 'lot.open', { lot: 'LOT-B' })
    await client.request('recount', { lot: 'LOT-B', occupied: 10 })
    const lines = await audited(url, ['--lot', 'LOT-B'], null)
    expect(lines).toHaveLength(703)
    expect(lines.slice(0, 2)).toMatchObject([{ type: 'lot.added', who: 'settings' }, { type: 'lot.closed', who: 'client:desk?', address: '127.0.0.1' }])
    const { out } = await audit(url, ['--lot', 'LOT-B', '--limit', '600'], null)
    const [, next] = /there may be more: --after (\d+)\n$/.exec(out) ?? []
    expect(out.split('\n')).toHaveLength(603)
    expect(await audited(url, ['--lot', 'LOT-B', '--after', String(next)], null)).toHaveLength(103)
    expect((await audit(url, ['--lot', 'LOT-B'], null)).out).toMatch(/lot\.recounted .* counted 75 -> 10, drift 65\n/)
    expect((await audit(url, ['--until', '1h'], null)).out).toBe('nothing happened that fits\n')
  })

  test('a wrong time, lot or number is wrong usage', async () => {
    const { url } = await startTestApp()
    for (const args of [['--since', 'yesterday'], ['--until', '2026-13-01'], ['--limit', '0'], ['--after', 'x']]) {
      await expect(audit(url, args, null)).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining(`${args[0]} ${args[1]}`) as string })
    }
    expect(await audit(url, ['--since', '2h', '--until', '3h'], null)).toMatchObject({ exitCode: 2, err: expect.stringContaining('is not after since') as string })
    expect(await audit(url, ['--lot', 'a b'], null)).toMatchObject({ exitCode: 2, err: expect.stringContaining('lot: must match') as string })
    await expect(audit(url, ['--password-stdin'], null)).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('--login') as string })
  })
})

test.each([
  ['2h', '2026-11-21T06:00:00.000Z'], ['3d', '2026-11-18T08:00:00.000Z'], ['90s', '2026-11-21T07:58:30.000Z'],
  ['2026-11-20T10:00+02:00', '2026-11-20T08:00:00.000Z'], ['2026-11-20T10:00:00Z', '2026-11-20T10:00:00.000Z'],
  ['2026-11-20', new Date(2026, 10, 20).toISOString()], ['2026-11-20 07:30', new Date(2026, 10, 20, 7, 30).toISOString()]
])('the time %s', (text, time) => {
  expect(timeOf(text, '--since', Date.parse('2026-11-21T08:00:00Z'))).toBe(time)
})
