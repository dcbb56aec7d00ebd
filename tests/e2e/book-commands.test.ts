// Bookings, waiting lists and availability as a person calls them: the compiled program, what it prints, what it keeps, its exit codes.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { Temporal } from 'temporal-polyfill'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startTestApp, testFolder, type TestClient } from '../support/app.js'
import { PROGRAM } from '../support/process.js'

const BERLIN = 'Europe/Berlin'
const LOTS = [
  { lot: 'A', capacity: 4 },
  { lot: 'ONE', capacity: 1, timeZone: 'Pacific/Auckland' }
]

interface Ended { readonly code: number | null, readonly out: string, readonly err: string }
interface Made { reservation: string, secret: string, status: string, from: string, until: string, position?: number }

interface Place {
  readonly client: TestClient
  /** Where the program keeps secrets. */
  readonly home: string
  readonly start: (...args: string[]) => ChildProcess
  readonly run: (...args: string[]) => Promise<Ended>
  /** Runs it with `--json` and gives the result, or the error. */
  readonly json: <R = Record<string, unknown>>(...args: string[]) => Promise<R & { code?: string, message?: string }>
}

async function open (settings: Record<string, unknown> = {}): Promise<Place> {
  const { url, connect } = await startTestApp({ settings: { timeZone: BERLIN, lots: LOTS, ...settings } })
  const home = testFolder()
  const start = (...args: string[]): ChildProcess => {
    // The user's own time zone is neither the lots' nor UTC.
    const env = { PATH: process.env.PATH, HOME: home, XDG_CONFIG_HOME: home, PARKMQ_URL: url, TZ: 'America/New_York' }
    const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env })
    const ended = once(child, 'exit')
    onTestFinished(async () => {
      child.kill('SIGKILL')
      await ended
    })
    return child
  }
  const run = async (...args: string[]): Promise<Ended> => {
    const child = start(...args)
    const ended = once(child, 'exit') as Promise<[number | null]>
    const [out, err] = await Promise.all([text(child.stdout ?? expect.fail()), text(child.stderr ?? expect.fail())])
    return { code: (await ended)[0], out, err }
  }
  const asJson = async <R>(...args: string[]): Promise<R & { code?: string, message?: string }> => {
    const { out, err } = await run(...args, '--json')
    expect(out, err).toMatch(/^\{.*\}\n$/)
    const reply = JSON.parse(out) as { result?: R, error?: object }
    return (reply.result ?? reply.error) as R & { code?: string }
  }
  return { client: await connect(), home, start, run, json: asJson }
}

/** A wall clock of a time zone in so many days. */
function wall (days: number, time: string, zone = BERLIN): { text: string, date: string, iso: string } {
  const date = Temporal.Now.zonedDateTimeISO(zone).toPlainDate().add({ days })
  const at = date.toPlainDateTime(Temporal.PlainTime.from(time)).toZonedDateTime(zone)
  return { text: `${date.toString()}T${time}`, date: date.toString(), iso: at.toInstant().toString({ fractionalSecondDigits: 3 }) }
}

async function lines (child: ChildProcess, count: number): Promise<string[]> {
  const seen: string[] = []
  for await (const line of createInterface({ input: child.stdout ?? expect.fail() })) {
    seen.push(line)
    if (seen.length === count) break
  }
  return seen
}

describe('book', { timeout: 120_000 }, () => {
  test('books on the lot\'s own clock, keeps the secret for its user alone, and change, extend and cancel find it', async () => {
    const { run, json, home } = await open()
    const [from, to] = [wall(3, '18:30'), wall(3, '20:30')]
    const booked = await run('book', 'A', 'abc-123', '--from', from.text.replace('T', ' '), '--for', '2h')
    expect(booked).toMatchObject({ code: 0, err: '' })
    const [, id = ''] = /^(R-\w{12}): booked, a place in A for ABC123, \w{3} (\S+) 18:30 to 20:30 \(Europe\/Berlin\)\n$/.exec(booked.out) ?? expect.fail(booked.out)
    const [file = ''] = readdirSync(join(home, 'parkmq', 'secrets'))
    const path = join(home, 'parkmq', 'secrets', file)
    expect((statSync(path).mode & 0o777).toString(8)).toBe('600')
    const { secret } = JSON.parse(readFileSync(path, 'utf8')) as Made
    expect(booked.out).not.toContain(secret)
    expect(await json('get', id)).toMatchObject({ kind: 'booking', status: 'booked', from: from.iso, until: to.iso })
    expect(await json('change', id, '--shift', '-30m')).toMatchObject({ from: wall(3, '18:00').iso, until: wall(3, '20:00').iso })
    // A time of day is that of the reservation's day, not of today.
    expect(await json('change', id, '--from', '19:00', '--to', '01:00')).toMatchObject({ from: wall(3, '19:00').iso, until: wall(4, '01:00').iso })
    for (let i = 0; i < 2; i++) expect(await json('extend', id, '--by', '30m')).toMatchObject({ until: wall(4, '01:30').iso })
    expect(await json('extend', id, '--until', '02:00')).toMatchObject({ until: wall(4, '02:00').iso })
    expect(await json('extend', id, '--until', '23:00')).toMatchObject({ until: wall(4, '02:00').iso })
    expect(await json('change', id, '--plate', 'x-1', '--to', '20:00')).toMatchObject({ plate: 'X1', until: wall(3, '20:00').iso })
    // The secret is found by the new plate.
    expect(await run('cancel', '--lot', 'A', '--plate', 'x1')).toEqual({ code: 0, out: `${id}: cancelled, a place in A for X1\n`, err: '' })
    expect(await run('cancel', id)).toMatchObject({ code: 1, out: '', err: expect.stringContaining('refused (already_cancelled)') as string })
  })

  test('takes times of the lot\'s zone, wherever it is, and with an offset those of the offset', async () => {
    const { json } = await open()
    expect(await json('book', 'ONE', 'X1', '--from', 'tomorrow 00:10', '--to', '00:20')).toMatchObject({ from: wall(1, '00:10', 'Pacific/Auckland').iso, until: wall(1, '00:20', 'Pacific/Auckland').iso })
    const day = wall(9, '12:00', 'UTC').date
    expect(await json('book', 'ONE', 'X1', '--from', `${day}T12:00Z`, '--to', `${day} 14:00+01:00`)).toMatchObject({ from: `${day}T12:00:00.000Z`, until: `${day}T13:00:00.000Z` })
  })

  test('says which day it took for a time that is past, also when it is refused', async () => {
    // Where it is neither just before nor just after midnight.
    const hour = Temporal.Now.zonedDateTimeISO('UTC').hour
    const zone = hour > 1 && hour < 22 ? 'UTC' : 'Etc/GMT+12'
    const { run } = await open({ timeZone: zone })
    const time = '00:00'
    const tomorrow = wall(1, time, zone).date
    const note = `${time} is past today in ${zone}; it is taken as tomorrow's, ${tomorrow}\n`
    const booked = await run('book', 'A', 'X1', '--from', time, '--for', '30m')
    expect(booked).toMatchObject({ code: 0, err: note, out: expect.stringContaining(`tomorrow ${tomorrow} 00:00 to 00:30 (${zone})`) as string })
    expect(await run('book', 'A', 'X1', '--from', time, '--for', '9999d')).toMatchObject({ code: 1, out: '', err: expect.stringMatching(new RegExp(`^${note.replaceAll(/[.()+]/g, '\\$&')}refused \\(over_limit\\)`)) as string })
  })

  test('leaves to the service what the clock skips', async () => {
    const { run } = await open({ times: { bookAheadMs: 20 * 366 * 24 * 3_600_000 } })
    expect(await run('book', 'A', 'X1', '--from', '2037-03-29T02:30', '--for', '1h')).toEqual({ code: 2, out: '', err: 'refused (bad_request): from: the clocks of Europe/Berlin skip 2037-03-29T02:30: write 2037-03-29T03:30 or an offset\n' })
    expect(await run('book', 'A', 'X1', '--from', '2037-10-25T01:30', '--for', '2h')).toMatchObject({ code: 0, out: expect.stringContaining('2037-10-25 01:30 to 02:30+01:00') as string })
  })
})

test('wrong use is told before anything is sent, with the value and an example', { timeout: 120_000 }, async () => {
  const { run, home } = await open()
  const wrong: [string[], RegExp][] = [
    [['book', 'A', 'X1'], /book needs --from/],
    [['book', 'A', 'X1', '--from', '7pm', '--for', '2h'], /--from 7pm is not a time; write 18:30/],
    [['wait', 'A', 'X1', '--to', '18:30'], /--to needs --from/],
    [['change', 'R-1'], /change needs something to change/],
    [['change', 'R-1', '--shift', '30m', '--to', '18:30'], /--shift moves the times and changes nothing else/],
    [['extend', 'R-1', '--by', '30m', '--until', '18:30'], /extend needs either/],
    [['availability', 'A', '--days', 'someday'], /--days someday is not a day; write days such as mon,tue/],
    [['availability', '--days', 'today'], /name it, such as parkmq availability LOT-A/],
    [['list', '--status', 'gone'], /Allowed choices are waiting, booked/]
  ]
  const ended = wrong.map(async ([args]) => await run(...args, '--url', 'mqtt://127.0.0.1:1'))
  expect(await Promise.all(ended)).toEqual(wrong.map(([, message]) => ({ code: 2, out: '', err: expect.stringMatching(message) as string })))
  expect(readdirSync(home)).toEqual([])
  expect(await run('availability', 'A', '--days', 'today', '--url', 'mqtt://127.0.0.1:1')).toMatchObject({ code: 3, out: '' })
})

describe('wait', { timeout: 120_000 }, () => {
  test('tells the position and how to see what became of it', async () => {
    const { client, run, json } = await open()
    await client.request('reserve', { lot: 'ONE', plate: 'FIRST' })
    const waited = await run('wait', 'ONE', 'X1')
    const [id = ''] = /^R-\w{12}/.exec(waited.out) ?? expect.fail(waited.out)
    expect(waited).toMatchObject({ code: 0, err: '' })
    expect(waited.out).toMatch(/^R-\w{12}: waiting for a place in ONE for X1, until .*\(Pacific\/Auckland\)\n/)
    expect(waited.out).toContain(`position 1 on the waiting list of ONE; what became of it: parkmq get ${id}, or parkmq list --plate X1`)
    expect((await json<Made>('wait', 'ONE', 'X2')).position).toBe(2)
    const listed = await run('list', '--status', 'waiting')
    expect(listed.out).toMatch(/^RESERVATION +KIND +LOT +PLATE +STATUS +FROM +UNTIL +TIME ZONE\n/)
    expect(listed.out).toMatch(new RegExp(`\n${id} +hold +ONE +X1 +waiting .* Pacific/Auckland`))
    expect(await run('cancel', id)).toMatchObject({ code: 0, out: `${id}: cancelled, a place in ONE for X1\n` })
  })

  test('with --follow stays until there is a place', async () => {
    const { client, start } = await open()
    const first = await client.request<Made>('reserve', { lot: 'ONE', plate: 'FIRST' })
    const waiting = start('wait', 'ONE', 'X1', '--follow')
    const ended = once(waiting, 'exit')
    const errors = text(waiting.stderr ?? expect.fail())
    const out = createInterface({ input: waiting.stdout ?? expect.fail() })[Symbol.asyncIterator]()
    expect((await out.next()).value).toContain('waiting for a place in ONE')
    expect((await out.next()).value).toContain('position 1')
    await client.request('cancel', first)
    expect((await out.next()).value).toMatch(/^there is a place now: R-\w{12}: held, a place in ONE for X1, until /)
    expect(await ended).toEqual([0, null])
    expect(await errors).toBe('')
  })

  test('with --follow ends with 1 when the time is up, and gives programs what came as it came', async () => {
    const { client, start } = await open({ times: { waitMs: 1_500 } })
    await client.request('reserve', { lot: 'ONE', plate: 'FIRST' })
    const waiting = start('wait', 'ONE', 'X1', '--follow', '--json')
    const ended = once(waiting, 'exit')
    const [reply = '', notice = ''] = await lines(waiting, 2)
    expect(JSON.parse(reply)).toMatchObject({ ok: true, result: { status: 'waiting', position: 1 } })
    expect(JSON.parse(notice)).toMatchObject({ ok: true, result: { event: 'expired', status: 'expired' } })
    expect(await ended).toEqual([1, null])
  })

  test('with --follow leaves it on the list at Ctrl-C, and says so', async () => {
    const { client, start, json } = await open()
    await client.request('reserve', { lot: 'ONE', plate: 'FIRST' })
    const waiting = start('wait', 'ONE', 'X1', '--follow')
    const ended = once(waiting, 'exit')
    const errors = text(waiting.stderr ?? expect.fail())
    const [id = ''] = /^R-\w{12}/.exec((await lines(waiting, 2))[0] ?? '') ?? expect.fail()
    waiting.kill('SIGINT')
    expect(await ended).toEqual([0, null])
    expect(await errors).toBe(`${id} still waits in ONE; what became of it: parkmq get ${id}, or parkmq list --plate X1; to leave the list: parkmq cancel ${id}\n`)
    expect(await json('get', id)).toMatchObject({ status: 'waiting' })
  })
})

describe('availability', { timeout: 120_000 }, () => {
  test('of a window is a sentence and its parts', async () => {
    const { client, run } = await open()
    const [from, to, late] = [wall(5, '18:30'), wall(5, '20:00'), wall(5, '21:00')]
    await client.request('book', { lot: 'A', plate: 'X1', from: from.text, to: to.text })
    const { code, out } = await run('availability', 'A', '--from', from.text, '--to', '21:00')
    expect(code).toBe(0)
    expect(out).toMatch(/^A: 3 places of 4 may be booked for the whole time, \w{3} \S+ 18:30 to 21:00 \(Europe\/Berlin\)\n\nFROM +TO +FREE\n/)
    expect(out).toMatch(new RegExp(`\n${from.date} 18:30 +${to.date} 20:00 +3\n${to.date} 20:00 +${late.date} 21:00 +4\n$`))
  })

  test('of a week is seven days in order, a sign an hour', async () => {
    const { client, run, json } = await open()
    // Of four places, three are taken in one hour and all in the next.
    for (const plate of ['X1', 'X2', 'X3']) await client.request('book', { lot: 'A', plate, from: wall(2, '10:00').text, to: wall(2, '12:00').text })
    await client.request('book', { lot: 'A', plate: 'X4', from: wall(2, '11:15').text, to: wall(2, '11:45').text })
    const { code, out } = await run('availability', 'A', '--days', 'week')
    expect(code).toBe(0)
    const drawn = out.split('\n').filter(line => line.includes('│'))
    expect(drawn.map(line => line.slice(4, 14))).toEqual(Array.from({ length: 7 }, (_, days) => wall(days, '12:00').date))
    if (drawn.every(line => line.endsWith('│'))) expect(drawn[2]?.slice(15)).toBe('│██████████▂·████████████│')
    expect(out).toContain('00 03 06 09 12 15 18 21')
    expect(out).toMatch(new RegExp(`\n\\w{3} ${wall(2, '12:00').date} +00:00 +11:15 +1\n +11:45 +24:00 +1\n`))
    const { days } = await json<{ days: { date: string }[] }>('availability', 'A', '--days', 'sun,mon,tue,wed,thu,fri,sat,today')
    expect(days.map(({ date }) => date)).toEqual(Array.from({ length: 7 }, (_, day) => wall(day, '12:00').date))
  })

  test('of days with 23 and 25 hours has every hour that there is, in its place', async () => {
    const { run } = await open({ times: { bookAheadMs: 20 * 366 * 24 * 3_600_000 } })
    await run('book', 'A', 'X1', '--from', '2037-10-25T02:00+01:00', '--for', '1h')
    const { out } = await run('availability', 'A', '--days', '2037-03-29,2037-10-25,2037-12-24')
    expect(out.split('\n').slice(2, 7)).toEqual([
      '                00  03 06 09 12 15 18 21',
      'Sun 2037-03-29 │██--█████████████████████│ 23 hours: the clock is put forward',
      'Sun 2037-10-25 │███▆█████████████████████│ 25 hours: the clock is put back',
      'Thu 2037-12-24 │███-█████████████████████│',
      'each sign is an hour: the fewest places that may be booked in it (█ up to 4, ▁ few, · none, - not in that day)'
    ])
  })
})

test('a lot has a time zone and a tariff', { timeout: 120_000 }, async () => {
  const { run, json } = await open()
  expect(await run('lot', 'add', 'NEW', '--capacity', '3', '--time-zone', 'Europe/Lisbon', '--tariff', 'standard')).toMatchObject({ code: 0, out: expect.stringContaining('time zone Europe/Lisbon, tariff standard') as string })
  expect(await json('lot', 'set', 'NEW', '--time-zone', 'Asia/Tokyo')).toMatchObject({ timeZone: 'Asia/Tokyo', tariff: 'standard' })
  expect(await run('lot', 'set', 'NEW', '--time-zone', 'Mars/Base')).toMatchObject({ code: 2, err: expect.stringContaining('timeZone') as string })
  expect(await run('lot', 'set', 'NEW', '--tariff', 'free')).toMatchObject({ code: 2, err: expect.stringContaining('there is no tariff free') as string })
})
