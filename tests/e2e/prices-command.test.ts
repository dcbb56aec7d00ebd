// `parkmq quote`, `permits` and `buy` as a person calls them: the compiled program, what it prints and its exit codes.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { duration, money } from '../../cli/prices.js'
import { startTestApp, testFolder } from '../support/app.js'
import { PROGRAM } from '../support/process.js'
import { writeUsers } from '../support/users-file.js'

interface Ended { readonly code: number | null, readonly out: string, readonly err: string }

/** Runs the compiled program (`npm run build`) with nothing of the tester's environment. */
async function parkmq (args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000, env: { PATH: process.env.PATH, TZ: 'America/New_York', ...env } })
  const ended = once(child, 'close') as Promise<[number | null]>
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)])
  return { code: (await ended)[0], out, err }
}

const SETTINGS = {
  timeZone: 'Europe/Berlin',
  lots: [{ lot: 'LOT-A', capacity: 10 }],
  permits: [
    { permit: 'DAY', name: 'One day', priceCents: 1_205, stock: 1 }, { permit: 'YEAR', name: 'One year\u001b[31m', priceCents: 100_000, stock: 20 }
  ]
}

describe('parkmq quote', () => {
  test('prints the price, how long and when; with --json the reply', async () => {
    const { url } = await startTestApp({ settings: SETTINGS })
    const asked = ['quote', 'LOT-A', '--from', '2026-12-24T18:30', '--to', '2026-12-26 09:00', '--url', url]
    expect(await parkmq(asked)).toEqual({ code: 0, err: '', out: 'LOT-A costs 30.00 EUR for 1 d 14 h 30 min: Thu 2026-12-24 18:30 to Sat 2026-12-26 09:00 (Europe/Berlin), tariff standard\n' })
    const { code, out } = await parkmq([...asked, '--json'])
    expect([code, JSON.parse(out)]).toEqual([0, { ok: true, result: {
      lot: 'LOT-A', from: '2026-12-24T17:30:00.000Z', to: '2026-12-26T08:00:00.000Z', minutes: 2_310, priceCents: 3_000, currency: 'EUR', tariff: 'standard'
    } }])
  })

  test('says what is wrong: a missing or bad time is wrong usage, an unknown lot is refused', async () => {
    const { url } = await startTestApp({ settings: SETTINGS })
    const quote = async (...args: string[]): Promise<Ended> => await parkmq(['quote', ...args, '--url', url])
    expect(await quote('LOT-A', '--from', '2026-12-24T18:30')).toMatchObject({ code: 2, out: '', err: expect.stringContaining('--from needs an end as well') as string })
    expect(await quote('LOT-A', '--from', '2026-12-24', '--to', '2026-12-25')).toMatchObject({ code: 2, out: '', err: expect.stringMatching(/^parkmq: --from 2026-12-24 is not a time; write 18:30/) as string })
    expect(await quote('LOT-A', '--from', '2026-12-24T18:30', '--to', '2026-12-24T18:00')).toMatchObject({ code: 2, err: 'parkmq: --to 2026-12-24T18:00 is not after --from 2026-12-24T18:30\n' })
    // A time of day, and how long, are enough.
    expect(await quote('LOT-A', '--from', '18:30', '--for', '2h')).toMatchObject({ code: 0, out: expect.stringMatching(/for 2 h: \w+ [\d-]+ 18:30 to 20:30 \(/) as string })
    expect(await quote('LOT-Z', '--from', '2026-12-24T18:30', '--to', '2026-12-24T19:00')).toEqual({ code: 1, out: '', err: 'refused (unknown_lot): there is no lot LOT-Z; lots lists them\n' })
  })
})

describe('parkmq permits and buy', () => {
  test('list, buy, and refuse when none is left', async () => {
    const { url } = await startTestApp({ settings: SETTINGS })
    const run = async (...args: string[]): Promise<Ended> => await parkmq([...args, '--url', url])
    // A name is what somebody wrote into the settings; it does not colour the terminal.
    expect(await run('permits')).toEqual({ code: 0, err: '', out: [
      'PERMIT  NAME           PRICE        STOCK',
      'DAY     One day          12.05 EUR      1',
      'YEAR    One year?[31m  1000.00 EUR     20',
      ''
    ].join('\n') })
    const bought = await run('buy', 'DAY', 'abc-123')
    expect(bought).toMatchObject({ code: 0, err: '' })
    expect(bought.out).toMatch(/^S-[2-9A-Z]{12}: DAY for ABC123, 12\.05 EUR; 0 left\n$/)
    expect(await run('buy', 'DAY', 'B2')).toEqual({ code: 1, out: '', err: 'refused (sold_out): no DAY is left of 1; choose another permit, or ask later\n' })
    expect(await run('buy', 'WEEK', 'B2')).toMatchObject({ code: 1, err: expect.stringContaining('refused (unknown_permit): there is no permit WEEK') as string })
    expect(await run('buy', 'DAY', '???')).toMatchObject({ code: 2, err: expect.stringContaining('refused (bad_request): plate: must be 1 to 16 letters') as string })
    expect(await run('buy', 'DAY')).toMatchObject({ code: 2, err: expect.stringContaining('missing required argument \'plate\'') as string })
    expect((await run('permits', 'DAY')).out.trimEnd().split('\n').slice(1)).toEqual([expect.stringMatching(/^DAY +One day +12\.05 EUR +0$/)])
    expect(await run('permits', 'WEEK')).toMatchObject({ code: 1, err: expect.stringContaining('unknown_permit') as string })
    const sale = JSON.parse((await run('buy', 'YEAR', 'B2', '--json')).out) as { result: object }
    expect(sale).toMatchObject({ ok: true, result: { permit: 'YEAR', plate: 'B2', priceCents: 100_000, currency: 'EUR', stock: 19 } })
    const all = JSON.parse((await run('permits', '--json')).out) as { result: { permits: object[] } }
    expect(all.result.permits).toMatchObject([{ permit: 'DAY', stock: 0 }, { permit: 'YEAR', stock: 19 }])
  })

  test('say so when there are none', async () => {
    const { url } = await startTestApp({ settings: { ...SETTINGS, permits: [] } })
    expect(await parkmq(['permits', '--url', url])).toEqual({ code: 0, out: 'no permits are sold here\n', err: '' })
  })

  test('are for drivers who log in', async () => {
    const users = await writeUsers([{ name: 'dora', role: 'driver', password: 'driver word' }], join(testFolder(), 'users.yaml'))
    const { url } = await startTestApp({ settings: { ...SETTINGS, users } })
    const bought = await parkmq(['buy', 'DAY', 'D1', '--user', 'dora', '--url', url], { PARKMQ_PASSWORD: 'driver word' })
    expect(bought).toMatchObject({ code: 0, out: expect.stringContaining('DAY for D1, 12.05 EUR') as string })
    expect(await parkmq(['buy', 'DAY', 'D1', '--url', url])).toMatchObject({ code: 1, out: '', err: expect.stringContaining('--user') as string })
  })
})

test.each([
  ['quote', ['--from <time>', '--to <time>', '366 days at most', 'parkmq quote LOT-A --from']],
  ['permits', ['[permit]', 'sold out']],
  ['buy', ['<permit>', '<plate>', 'parkmq buy MONTH ABC123', 'receipt']]
])('parkmq %s --help helps', async (command, words) => {
  const { code, out } = await parkmq([command, '--help'])
  expect(code).toBe(0)
  for (const word of [...words, '--json']) expect(out).toContain(word)
  expect((await parkmq(['--help'])).out).toMatch(new RegExp(`^ {2}${command}\\b`, 'm'))
})

test.each([[0, '0.00'], [1, '0.01'], [10, '0.10'], [99, '0.99'], [100, '1.00'], [1_200, '12.00'], [1_205, '12.05'], [100_000_000, '1000000.00'], [Number.MAX_SAFE_INTEGER, '90071992547409.91']])('%d cents are %s EUR', (cents, shown) => {
  expect(money(cents, 'EUR')).toBe(`${shown} EUR`)
})

test.each([-1, 0.5, NaN, 2 ** 53, undefined])('%s cents are no price', cents => {
  expect(() => money(cents as number, 'EUR')).toThrow('which is no whole number of cents')
})

test.each([[0, '0 min'], [1, '1 min'], [60, '1 h'], [90, '1 h 30 min'], [1_440, '1 d'], [1_445, '1 d 5 min'], [2_310, '1 d 14 h 30 min'], [527_040, '366 d']])('%d minutes are %s', (minutes, shown) => {
  expect(duration(minutes)).toBe(shown)
})
