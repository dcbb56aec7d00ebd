// Log-ins as attackers and fleets send them, byte by byte, to a real broker: every wrong one is refused in MQTT's words or
// closed, nobody gets in, and whoever belongs here still does.
import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { startBroker, type TestBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'

const PASSWORD = 'correct horse'
const BYTES = Buffer.from('ff00fe', 'hex')
const USER_FLAG = 0x80
const PASSWORD_FLAG = 0x40

interface Login {
  readonly user?: string | Buffer
  readonly password?: string | Buffer
}

function field (value: string | Buffer): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
}

/** CONNECT with whatever fields there are; client libraries refuse to write some of these. */
function connectBytes (version: 4 | 5, { user, password }: Login, clientId = 'c'): Buffer {
  const flags = 0x02 | (user === undefined ? 0 : USER_FLAG) | (password === undefined ? 0 : PASSWORD_FLAG)
  const body = Buffer.concat([
    field('MQTT'), Buffer.from([version, flags, 0, 0]), Buffer.alloc(version === 5 ? 1 : 0), field(clientId),
    ...user === undefined ? [] : [field(user)], ...password === undefined ? [] : [field(password)]
  ])
  const length: number[] = []
  for (let left = body.length; left > 0; left >>= 7) length.push(left > 0x7f ? (left & 0x7f) | 0x80 : left)
  return Buffer.concat([Buffer.from([0x10, ...length]), body])
}

/** A broker that delays nobody. `outcomes` waits for so many answers to log-ins. */
async function start (limits: Record<string, number> = {}): Promise<{ broker: TestBroker, outcomes: (count: number) => Promise<string[]> }> {
  const told: string[] = []
  let wake = (): void => {}
  const broker = await startBroker({
    users: [{ name: 'gate-1', role: 'device', lots: ['LOT-A'], password: PASSWORD }, { name: 'toString', password: 'its own' }],
    times: { loginDelayMs: 0 }, limits,
    onAccess: ({ type, why }) => {
      if (type.startsWith('login.')) told.push(why)
      wake()
    }
  })
  const outcomes = async (count: number): Promise<string[]> => {
    while (told.length < count) await new Promise<void>(resolve => { wake = resolve })
    return told
  }
  return { broker, outcomes }
}

/** The code of CONNACK; null when the connection is closed without one. */
async function codeOf (broker: TestBroker, version: 4 | 5, login: Login): Promise<number | null> {
  const client = await RawClient.open(broker, version)
  client.write(connectBytes(version, login))
  const packet = await client.next().catch(() => null)
  client.destroy()
  return packet?.cmd === 'connack' ? packet.reasonCode ?? packet.returnCode ?? null : null
}

describe.each([[4, 4, 5], [5, 0x86, 0x87]] as const)('in MQTT version %i', (version, bad, nameless) => {
  const malformed = version === 5 ? 0x81 : null
  const wrong: readonly (readonly [string, Login, number | null])[] = [
    ['a user name of 65,535 bytes', { user: 'u'.repeat(65_535), password: 'x' }, bad],
    ['a password of 65,535 bytes', { user: 'gate-1', password: Buffer.alloc(65_535, 'x') }, bad],
    ['a password that only begins with the right one', { user: 'gate-1', password: `${PASSWORD} ` }, bad],
    ['an empty password', { user: 'gate-1', password: '' }, bad],
    ['a password that is not UTF-8', { user: 'gate-1', password: BYTES }, bad],
    ['a user name without a password', { user: 'gate-1' }, bad],
    ['an empty user name', { user: '', password: PASSWORD }, bad],
    ['__proto__', { user: '__proto__', password: 'x' }, bad],
    ['constructor', { user: 'constructor', password: 'x' }, bad],
    ['a name in other letters', { user: 'GATE-1', password: PASSWORD }, bad],
    ['a user name that is not UTF-8', { user: BYTES, password: PASSWORD }, malformed],
    ['nothing', {}, nameless],
    // 3.1.1 forbids it [MQTT-3.1.2-22], 5.0 does not.
    ['a password without a user name', { password: PASSWORD }, version === 5 ? nameless : null]
  ]
  test('every wrong log-in is refused or closed, and who belongs here comes in', async () => {
    const { broker, outcomes } = await start()
    for (const [what, login, code] of wrong) expect(`${what}: ${await codeOf(broker, version, login)}`).toBe(`${what}: ${code}`)
    expect(await codeOf(broker, version, { user: 'gate-1', password: PASSWORD })).toBe(0)
    expect(await codeOf(broker, version, { user: 'toString', password: 'its own' })).toBe(0)
    expect((await outcomes(1)).filter(outcome => outcome === 'password')).toHaveLength(2)
  })
})

test('clients that send a password and vanish leave nothing behind, and keep nobody out', async () => {
  const { broker, outcomes } = await start()
  const clients = 300
  await Promise.all(Array.from({ length: clients }, async (_, n) => {
    const socket = connect({ port: broker.port, host: '127.0.0.1' })
    // What a reset overtakes is not even read.
    socket.write(connectBytes(n % 2 === 0 ? 4 : 5, { user: `user-${n}`, password: 'x' }, `vanished-${n}`), () => socket.destroy())
    await new Promise<void>(resolve => { socket.once('close', () => resolve()) })
  }))
  expect(await codeOf(broker, 5, { user: 'gate-1', password: PASSWORD })).toBe(0)
  const told = await outcomes(1)
  expect(told.filter(outcome => outcome === 'password')).toHaveLength(1)
  // They are gone before it is their turn, and cost no check.
  expect(await broker.count('logins_total{outcome=gone}')).toBeGreaterThan(0)
  expect(told.filter(outcome => outcome === 'bad_credentials').length).toBeLessThan(clients / 10)
})

test('a fleet behind one address comes in at once', async () => {
  const { broker } = await start()
  const clients = await Promise.all(Array.from({ length: 600 }, async () => await RawClient.open(broker, 5)))
  for (const [n, client] of clients.entries()) client.write(connectBytes(5, { user: 'gate-1', password: PASSWORD }, `device-${n}`))
  const answers = await Promise.all(clients.map(async client => await client.next()))
  expect(answers.filter(packet => packet.cmd === 'connack' && packet.reasonCode === 0)).toHaveLength(clients.length)
})
