// `parkmq shell` on a pseudo terminal, as a person uses it: choosing by typing, being told what is wrong, and leaving.
import { spawnSync } from 'node:child_process'
import { dirname } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startProcess, PROGRAM } from '../support/process.js'
import { startTestApp, testFolder, type TestClient } from '../support/app.js'
import { Terminal, whyNoTerminal } from '../support/terminal.js'

const LOTS = [{ lot: 'NORTH', name: 'North gate', capacity: 4, timeZone: 'Europe/Berlin' }, { lot: 'SOUTH', capacity: 1, timeZone: 'Europe/Berlin' }]
const MENU = /What would you like to do\?/
const CTRL_C = '\u0003'

function whyNot (): string | null {
  const why = whyNoTerminal()
  // A silent skip would look like a pass.
  if (why !== null) process.stderr.write(`parkmq shell is not tested: ${why}\n`)
  return why
}

async function openTerminal (url: string): Promise<Terminal> {
  const home = testFolder()
  const terminal = await Terminal.open(home, testFolder(), { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, HOME: home, XDG_CONFIG_HOME: home, PARKMQ_URL: url, LC_ALL: 'C.UTF-8', TZ: 'America/New_York' })
  onTestFinished(async () => await terminal.close())
  // What is typed is shown by the prompts; long lines are not broken.
  terminal.start(`stty cols 250 rows 60; TERM=xterm node ${PROGRAM} shell --timeout 2`, 'what is typed')
  return terminal
}

interface Room { readonly terminal: Terminal, readonly client: TestClient }

async function enter (settings: Record<string, unknown> = {}): Promise<Room> {
  const { url, connect } = await startTestApp({ settings: { lots: LOTS, ...settings } })
  const client = await connect()
  const terminal = await openTerminal(url)
  await terminal.sees(MENU)
  return { terminal, client }
}

/** Types a part of what is to be chosen, and takes it when it is what stands first. */
async function choose (terminal: Terminal, typed: string, first: RegExp): Promise<void> {
  terminal.type(typed)
  await terminal.sees(new RegExp(`${typed}[^❯]*❯ ${first.source}`))
  terminal.type('\r')
}

async function answer (terminal: Terminal, question: RegExp, typed: string): Promise<void> {
  await terminal.sees(question)
  terminal.type(`${typed}\r`)
}

/** Ctrl-C at the menu. */
async function leave (terminal: Terminal): Promise<void> {
  terminal.type(CTRL_C)
  expect((await terminal.ended('Ctrl-C at the menu')).code).toBe(0)
}

describe.skipIf(whyNot() !== null)('the shell', { timeout: 120_000 }, () => {
  test('books by questions, asks again for what is wrong before it sends anything, and knows the user\'s own reservations', async () => {
    const { terminal, client } = await enter()
    await client.request('book', { lot: 'NORTH', plate: 'OTHER', from: '2026-12-24T18:30', to: '2026-12-24T19:30' })
    await choose(terminal, 'book', /book /)
    await terminal.sees(/NORTH +North gate, 4 of 4 free/)
    await choose(terminal, 'gate', /NORTH +North gate, 4 of 4 free/)
    await answer(terminal, /Number plate\?/, 'a/b')
    await terminal.sees(/a\/b is not a plate/)
    terminal.type('\u0015ab 12\r')
    await answer(terminal, /From when\?/, '7pm')
    await terminal.sees(/7pm is not a time; write 18:30/)
    terminal.type('\u0015tomorrow 18:30\r')
    await answer(terminal, /Until when, or for how long\?/, '90m')
    const [, id = ''] = await terminal.sees(/(R-\w{12}): booked, a place in NORTH for AB12, tomorrow \S+ 18:30 to 20:00 \(Europe\/Berlin\)/)
    await terminal.sees(MENU)
    expect(await client.request('list', { plate: 'AB12' })).toMatchObject({ reservations: [{ reservation: id, status: 'booked' }] })

    await choose(terminal, 'change', /change /)
    // Its own is offered, that of another is not.
    await terminal.sees(new RegExp(`❯ ${id}: booked, a place in NORTH for AB12`))
    const offered = terminal.screen
    expect(offered.slice(offered.lastIndexOf('Which reservation?'))).not.toContain('OTHER')
    terminal.type('\r')
    await terminal.sees(/What is to change\?/)
    terminal.type('\r')
    await answer(terminal, /By how much\?/, '-30m')
    await terminal.sees(/booked, a place in NORTH for AB12, tomorrow \S+ 18:00 to 19:30 \(Europe\/Berlin\)/)
    await terminal.sees(MENU)

    await choose(terminal, 'cancel', /cancel /)
    await choose(terminal, 'AB12', new RegExp(id))
    await answer(terminal, /Give it back\?/, 'y')
    await terminal.sees(new RegExp(`${id}: cancelled, a place in NORTH for AB12`))
    await terminal.sees(MENU)
    await choose(terminal, 'quit', /quit/)
    expect((await terminal.ended('quit')).code).toBe(0)
  })

  test('shows a refusal as a sentence and goes on; what is pasted at once is taken question by question', async () => {
    const { terminal, client } = await enter()
    await client.request('reserve', { lot: 'SOUTH', plate: 'FIRST' })
    terminal.type('reserve\rSOUTH\rX1\r15m\r')
    await terminal.sees(/refused \(lot_full\): the lot SOUTH has no free place/)
    await terminal.sees(MENU)
    terminal.type('reserve\rnorth\rX2\r15m\r')
    await terminal.sees(/R-\w{12}: held, a place in NORTH for X2, until /)
    await terminal.sees(MENU)
    expect(await client.request('list', { lot: 'NORTH' })).toMatchObject({ reservations: [{ plate: 'X2' }] })
    await leave(terminal)
  })

  test('Ctrl-C and Ctrl-D at a question go back to the menu, and at the menu end it with 0', async () => {
    const { terminal, client } = await enter()
    await choose(terminal, 'book', /book /)
    await terminal.sees(/Which lot\?/)
    terminal.type(CTRL_C)
    await terminal.sees(MENU)
    await choose(terminal, 'reserve', /reserve /)
    await choose(terminal, 'north', /NORTH/)
    await terminal.sees(/Number plate\?/)
    terminal.type('AB\u0004')
    await terminal.sees(MENU)
    expect(await client.request('list')).toMatchObject({ reservations: [] })
    await leave(terminal)
  })

  test('tells prices, sells a permit only when it is asked for twice, and watches a lot until Ctrl-C', async () => {
    const { terminal, client } = await enter({ permits: [{ permit: 'DAY', name: 'One day', priceCents: 1_205, stock: 1 }] })
    await choose(terminal, 'quote', /quote /)
    await choose(terminal, 'south', /SOUTH/)
    await answer(terminal, /From when\?/, '2027-12-24T18:00')
    await answer(terminal, /Until when, or for how long\?/, '2h')
    await terminal.sees(/SOUTH costs 4\.00 EUR/)
    await terminal.sees(MENU)
    for (const sure of ['n', 'y']) {
      await choose(terminal, 'buy', /buy/)
      await choose(terminal, 'DAY', /DAY +One day, 12\.05 EUR, 1 left/)
      await answer(terminal, /Number plate\?/, 'ab 12')
      await answer(terminal, /Buy DAY for AB12 for 12\.05 EUR\?/, sure)
      await terminal.sees(sure === 'n' ? /nothing was bought/ : /S-\w{12}: DAY for AB12, 12\.05 EUR; 0 left/)
      await terminal.sees(MENU)
    }
    expect(await client.request('permit', { permit: 'DAY' })).toMatchObject({ stock: 0 })
    await choose(terminal, 'monitor', /monitor/)
    await choose(terminal, 'south', /SOUTH/)
    await answer(terminal, /For how long\?/, '5m')
    await terminal.sees(/SOUTH 1\/1 open/)
    await client.publish('lots/SOUTH/sensor', '1')
    await terminal.sees(/SOUTH 0\/1 open/)
    terminal.type(CTRL_C)
    await terminal.sees(/the monitor of SOUTH has ended: it was ended/)
    await terminal.sees(MENU)
    await leave(terminal)
  })

  test('waits until there is a place, and Ctrl-C leaves the list as it is', async () => {
    const { terminal, client } = await enter()
    const first = await client.request<{ reservation: string, secret: string }>('reserve', { lot: 'SOUTH', plate: 'FIRST' })
    const waiting = async (plate: string): Promise<string> => {
      terminal.type(`wait\rsouth\r${plate}\r`)
      await terminal.sees(/For when\?/)
      terminal.type('\r')
      const [, id = ''] = await terminal.sees(/(R-\w{12}): waiting for a place in SOUTH/)
      await answer(terminal, /Stay until there is a place\?/, 'y')
      await terminal.sees(/waiting\.\.\./)
      return id
    }
    const left = await waiting('X1')
    terminal.type(CTRL_C)
    await terminal.sees(new RegExp(`${left} still waits in SOUTH`))
    await terminal.sees(MENU)
    expect(await client.request('list', { plate: 'X1' })).toMatchObject({ reservations: [{ status: 'waiting' }] })
    const second = await waiting('X2')
    await client.request('cancel', first)
    const promoted = await client.request<{ reservations: { plate: string }[] }>('list', { status: 'held' })
    expect(promoted.reservations.map(({ plate }) => plate)).toEqual(['X1'])
    // The one before it gives up.
    terminal.type(CTRL_C)
    await terminal.sees(new RegExp(`${second} still waits`))
    await terminal.sees(MENU)
    terminal.type('cancel\rX1\r')
    await answer(terminal, /Give it back\?/, 'y')
    await terminal.sees(new RegExp(`${left}: cancelled`))
    await terminal.sees(MENU)
    terminal.type('my res\r')
    await terminal.sees(new RegExp(`${second}: held, a place in SOUTH for X2`))
    await terminal.sees(MENU)
    await leave(terminal)
  })

  test('draws the hours of a week', async () => {
    const { terminal } = await enter()
    terminal.type('availability\r')
    await terminal.sees(/the hours of seven days/)
    terminal.type('\u001b[B\u001b[B\r')
    await terminal.sees(/Which lot\?/)
    terminal.type('north\r')
    await terminal.sees(/00 {1,2}03 06 09 12 15 18 21/)
    await terminal.sees(/(?:[^\n]*│[ █·-]+│[^\n]*\n){7}each sign is an hour/)
    await terminal.sees(MENU)
    await leave(terminal)
  })

  test('a lost connection is said at once, and the request is sent again when the person wants it', async () => {
    const data = testFolder()
    const first = await startProcess(data)
    const terminal = await openTerminal(`mqtt://127.0.0.1:${first.port}`)
    await terminal.sees(MENU)
    await first.kill()
    await terminal.sees(/connection to mqtt:\S+ lost; connecting again/)
    await terminal.sees(MENU)
    terminal.type('reserve\r')
    await terminal.sees(/no connection to the broker within 2000 ms: lots was not sent/)
    await terminal.sees(/Send it again\?/)
    await startProcess(data, ['--port', String(first.port)])
    terminal.type('y\r')
    await terminal.sees(/Which lot\?/)
    terminal.type('LOT-B\rX1\r5m\r')
    await terminal.sees(/R-\w{12}: held, a place in LOT-B for X1/)
    await terminal.sees(MENU)
    await leave(terminal)
  })
})

test('without a terminal it says so, with the way out', () => {
  const ended = spawnSync(process.execPath, [PROGRAM, 'shell', '--url', 'mqtt://127.0.0.1:1'], { input: 'quit\n', encoding: 'utf8' })
  expect(ended).toMatchObject({ status: 2, stdout: '', stderr: expect.stringMatching(/^parkmq: the shell is for people at a terminal; programs and pipes use the commands/) as string })
})
