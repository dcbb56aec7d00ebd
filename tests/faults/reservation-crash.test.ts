// Guarantees 1 and 4: kill -9 between the commit of a request and its reply, once for each kind of request. strace kills
// parkmq as it enters the system call that syncs the commit: all of the commit is written by then, and nothing is answered yet.
// The repeat gets the reply that nobody heard, and nothing happens twice.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { testFolder } from '../support/app.js'
import { AskingClient, type Told } from '../support/asking.js'
import { startProcess } from '../support/process.js'

const ABSENT = spawnSync('strace', ['--version']).error ? 'strace is not installed: it is what kills parkmq between commit and reply' : null
const MINUTE = 60_000
const LOTS = [{ lot: 'CRASH', capacity: 3, counting: 'requests', timeZone: 'UTC' }, { lot: 'OTHER', capacity: 2, timeZone: 'UTC' }, { lot: 'FULL', capacity: 0, timeZone: 'UTC' }]

/** An hour from the next whole minute on. */
const FROM = Math.ceil(Date.now() / MINUTE) * MINUTE + 60 * MINUTE
const iso = (ms: number): string => new Date(ms).toISOString()

interface Made { hold: Told, booking: Told, waiting: Told }
interface Round {
  readonly method: string
  readonly body: (made: Partial<Made>) => object
  /** What is kept of the reply for later rounds. */
  readonly as?: keyof Made
  readonly reply: object
  /** What then is listed, by plate: a second effect would be seen there. */
  readonly listed: object[]
}

const named = (told: Told | undefined): object => ({ reservation: told?.result.reservation, secret: told?.result.secret })
const hold = (status: string): object => ({ plate: 'HOLD', kind: 'hold', lot: 'CRASH', status })
const booking = (status: string, lot: string, from: number, until: number): object => ({ plate: 'BOOKING', kind: 'booking', lot, status, from: iso(from), until: iso(until) })
const WAITS = { plate: 'WAITS', kind: 'hold', lot: 'FULL', status: 'waiting' }

const ROUNDS: readonly Round[] = [
  { method: 'reserve', body: () => ({ lot: 'CRASH', plate: 'HOLD', holdSeconds: 3_600 }), as: 'hold', reply: { status: 'held' }, listed: [hold('held')] },
  {
    method: 'book', body: () => ({ lot: 'CRASH', plate: 'BOOKING', from: iso(FROM), to: iso(FROM + 60 * MINUTE) }), as: 'booking', reply: { status: 'booked' },
    listed: [booking('booked', 'CRASH', FROM, FROM + 60 * MINUTE), hold('held')]
  },
  {
    method: 'change', body: ({ booking }) => ({ ...named(booking), shiftMinutes: 30 }), reply: { from: iso(FROM + 30 * MINUTE) },
    listed: [booking('booked', 'CRASH', FROM + 30 * MINUTE, FROM + 90 * MINUTE), hold('held')]
  },
  {
    method: 'extend', body: ({ booking }) => ({ ...named(booking), byMinutes: 15 }), reply: { until: iso(FROM + 105 * MINUTE) },
    listed: [booking('booked', 'CRASH', FROM + 30 * MINUTE, FROM + 105 * MINUTE), hold('held')]
  },
  { method: 'wait', body: () => ({ lot: 'FULL', plate: 'WAITS' }), as: 'waiting', reply: { status: 'waiting', position: 1 }, listed: [booking('booked', 'CRASH', FROM + 30 * MINUTE, FROM + 105 * MINUTE), hold('held'), WAITS] },
  { method: 'arrive', body: ({ hold }) => named(hold), reply: { status: 'arrived' }, listed: [booking('booked', 'CRASH', FROM + 30 * MINUTE, FROM + 105 * MINUTE), hold('arrived'), WAITS] },
  { method: 'change', body: ({ booking }) => ({ ...named(booking), lot: 'OTHER' }), reply: { lot: 'OTHER' }, listed: [booking('booked', 'OTHER', FROM + 30 * MINUTE, FROM + 105 * MINUTE), hold('arrived'), WAITS] },
  { method: 'depart', body: ({ hold }) => named(hold), reply: { status: 'departed' }, listed: [booking('booked', 'OTHER', FROM + 30 * MINUTE, FROM + 105 * MINUTE), hold('departed'), WAITS] },
  { method: 'cancel', body: ({ booking }) => named(booking), reply: { status: 'cancelled' }, listed: [booking('cancelled', 'OTHER', FROM + 30 * MINUTE, FROM + 30 * MINUTE), hold('departed'), WAITS] },
  { method: 'cancel', body: ({ waiting }) => named(waiting), reply: { status: 'cancelled' }, listed: [booking('cancelled', 'OTHER', FROM + 30 * MINUTE, FROM + 30 * MINUTE), hold('departed'), { ...WAITS, status: 'cancelled' }] }
]

test.skipIf(ABSENT !== null)(`kill -9 between commit and reply, ${ROUNDS.length} times${ABSENT === null ? '' : ` (skipped: ${ABSENT})`}`, { timeout: 240_000 }, async context => {
  const data = testFolder()
  const settings = join(testFolder(), 'parkmq.json')
  writeFileSync(settings, JSON.stringify({ lots: LOTS }))
  const made: Partial<Made> = {}
  let parkmq = await startProcess(data, ['--config', settings])
  for (const [n, round] of ROUNDS.entries()) {
    const what = `round ${n}, ${round.method}`
    const body = { ...round.body(made), requestId: `crash-${n}-0123456789abcdef` }
    const first = await AskingClient.connect(`mqtt://127.0.0.1:${parkmq.port}`)
    const died = once(parkmq.process, 'exit')
    const refused = await killAtNextSync(parkmq.process.pid ?? 0)
    if (refused !== null) return context.skip(`strace may not attach here: ${refused}`)
    // Nobody hears of it, not even a PUBACK.
    await expect(first.ask(round.method, body), what).rejects.toThrow('the connection')
    expect((await died)[1], what).toBe('SIGKILL')

    parkmq = await startProcess(data, ['--config', settings])
    const client = await AskingClient.connect(`mqtt://127.0.0.1:${parkmq.port}`)
    const repeat = await client.ask(round.method, body)
    // It was committed: the reply is the stored one.
    expect(repeat, what).toMatchObject({ ok: true, replayed: true, result: round.reply })
    const { result } = await client.ask('list')
    const byPlate = (result.reservations as { plate: string }[]).sort((a, b) => a.plate < b.plate ? -1 : 1)
    expect(byPlate, what).toMatchObject(round.listed)
    expect(byPlate, what).toHaveLength(round.listed.length)
    expect(await client.ask(round.method, body), what).toMatchObject({ text: repeat.text, replayed: true })
    if (round.as) made[round.as] = repeat
    await client.end()
  }
  // The car came and left once.
  const client = await AskingClient.connect(`mqtt://127.0.0.1:${parkmq.port}`)
  expect((await client.ask('lots', { lot: 'CRASH' })).result.lots).toMatchObject([{ counted: 0, held: 0 }])
  expect((await client.ask('lots', { lot: 'FULL' })).result.lots).toMatchObject([{ waiting: 0 }])
  await client.end()
  expect(await parkmq.stop()).toBe(0)
})

/** From now on the process is killed as soon as it syncs anything to disk. Resolves with the reason when that cannot be. */
async function killAtNextSync (pid: number): Promise<string | null> {
  const strace = spawn('strace', ['-f', '-o', '/dev/null', '-p', String(pid), '-e', 'trace=fdatasync,fsync', '-e', 'inject=fdatasync,fsync:signal=SIGKILL'], { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(strace, 'exit')
  onTestFinished(async () => {
    strace.kill('SIGKILL')
    await ended
  })
  return await new Promise(resolve => {
    let said = ''
    strace.stderr.on('data', (text: Buffer) => {
      said += text.toString()
      if (/attached/.test(said)) resolve(null)
    })
    void ended.then(() => resolve(said.trim()))
  })
}
