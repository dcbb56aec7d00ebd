// `parkmq doctor` about access: the printed table is the constant that decides, and what is said of users, TLS and web pages
// is true, names the way out, and never a secret.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { accessChecks } from '../../cli/access-checks.js'
import { accessText } from '../../cli/access-table.js'
import type { Check } from '../../cli/check.js'
import { checkDisk } from '../../cli/disk-check.js'
import { ACCESS, type Role } from '../../shared/access.js'
import { Config } from '../../shared/config.js'
import { isServicesOwn } from '../../shared/topics.js'
import { temporaryFolder } from '../support/broker.js'
import { TestAuthority } from '../support/certificates.js'
import { startProcess } from '../support/process.js'
import { writeUsers, type TestUser } from '../support/users-file.js'

const PROGRAM = fileURLToPath(new URL('../../bin/parkmq.js', import.meta.url))
const DAY_MS = 24 * 3_600_000

interface Ended { readonly code: number | null, readonly out: string, readonly err: string }

/** Runs the compiled program (`npm run build`) in a folder with nothing of the tester's environment. */
async function doctor (folder: string, args: readonly string[], { input = '', env = {} }: { input?: string, env?: Record<string, string> } = {}): Promise<Ended> {
  const child = spawn(process.execPath, [PROGRAM, 'doctor', ...args], { cwd: folder, stdio: 'pipe', timeout: 20_000, env: { PATH: process.env.PATH, ...env } })
  const ended = once(child, 'close') as Promise<[number | null]>
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)])
  return { code: (await ended)[0], out, err }
}

/** What stands in each column of each row of the table of `--access`. */
function cellsOf (printed: string): Record<string, string[][]> {
  const [heading = '', ...lines] = printed.split('\n')
  const starts = ['ROLE', 'MAY PUBLISH ON', 'MAY READ', 'MAY REQUEST', 'RESERVATIONS'].map(name => heading.indexOf(name))
  const rows: Record<string, string[][]> = {}
  let row: string[][] = []
  for (const line of lines.slice(0, lines.findIndex(other => other.startsWith('A topic pattern')))) {
    const [role = '', ...cells] = starts.map((start, column) => line.slice(start, starts[column + 1]).trim())
    if (role !== '') rows[role] = row = cells.map(() => [])
    for (const [column, cell] of cells.entries()) if (cell !== '') row[column]?.push(cell)
  }
  return rows
}

test('settings that are lists or have names of their own are shown by their names', async () => {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 's.yaml'), 'tariffs:\n  night: { intervalMinutes: 60, intervalCents: 100 }\npermits:\n  - { permit: MONTH, name: A month, priceCents: 100, stock: 5 }\n')
  const { out } = await doctor(folder, ['--config', 's.yaml'])
  expect(out).toMatch(/permits +MONTH/)
  expect(out).toMatch(/^ *(?:tariffs +)?night *(?:file.*)?$/m)
  expect(out).not.toMatch(/\[object Object\]/)
})

describe('doctor --access', () => {
  test('prints every cell of the table that decides, and nothing besides', () => {
    const expected = Object.fromEntries((Object.keys(ACCESS) as Role[]).map(role => {
      const { publish, read, methods, lists, actsForOthers } = ACCESS[role]
      const cell = (entries: readonly string[]): readonly string[] => entries.length === 0 ? ['nothing'] : entries
      return [role, [cell(publish), cell(read), methods === 'all' ? ['all'] : cell(methods), methods.length === 0 ? ['none'] : [`lists ${lists}`, `uses ${actsForOthers ? 'all' : 'own'}`]]]
    }))
    expect(cellsOf(accessText())).toEqual(expected)
  })

  test('names topics that only parkmq writes, and they are', () => {
    const [, named = ''] = /^Nobody but parkmq publishes on (.+)\.$/m.exec(accessText()) ?? []
    const patterns = named.split(/, | and /)
    expect(patterns).toHaveLength(7)
    for (const pattern of patterns) expect(isServicesOwn(pattern.replace('+', 'LOT-A').replace(/[+#]/, 'x')), pattern).toBe(true)
  })

  test('needs no broker and no settings; programs get the constant itself', async () => {
    const env = { PARKMQ_CONFIG: '/nowhere.yaml', PARKMQ_URL: 'mqtt://127.0.0.1:1' }
    expect(await doctor('/', ['--access'], { env })).toEqual({ code: 0, out: `${accessText()}\n`, err: '' })
    const { out } = await doctor('/', ['--access', '--json'], { env })
    expect(JSON.parse(out)).toEqual({ access: ACCESS })
  })
})

const USERS: readonly TestUser[] = [
  { name: 'gate-1', role: 'device', lots: ['LOT-A'], password: 'gate-password' }, { name: 'ann', password: 'ann-password' }, { name: 'olga', role: 'operator', password: 'olga-password' }
]

/** The check with this name of these settings, with users in a file of its own. */
async function said (name: string, settings: object, users?: readonly TestUser[], mode = 0o600): Promise<Check | undefined> {
  const data = temporaryFolder()
  if (users) {
    await writeUsers(users, join(data, 'users.yaml'))
    chmodSync(join(data, 'users.yaml'), mode)
  }
  const checks = await accessChecks(Config.parse({ data, ...settings }))
  for (const hidden of ['$scrypt$', 'gate-password', 'ann-password', 'olga-password', 'PRIVATE KEY']) expect(JSON.stringify(checks)).not.toContain(hidden)
  return checks.find(check => check.name === name)
}

describe('what doctor says of access', () => {
  test.each<[string, string, object, readonly TestUser[] | undefined, boolean | 'warning' | null, RegExp]>([
    ['no users, this machine only', 'users', {}, undefined, null, /^none: every program on this machine may do everything.*\n`parkmq user add/],
    ['no users, a network', 'users', { host: '0.0.0.0' }, undefined, false, /host is 0\.0\.0\.0.*there are no users[^]*--allow-anonymous/],
    ['no users, a network, everybody let in', 'users', { host: '0.0.0.0', allowAnonymous: true }, undefined, 'warning', /whoever reaches 0\.0\.0\.0 may read everything/],
    ['users by role', 'users', {}, USERS, true, /users\.yaml: 3 \(1 device, 1 driver, 1 operator\); only its owner may read it \(mode 600\)$/],
    ['an empty file', 'users', {}, [], true, /nobody can log in/],
    ['a file that is not there', 'users', { users: '/nowhere/users.yaml' }, undefined, false, /there is no users file \/nowhere\/users\.yaml; make it with: parkmq user add/],
    ['users and another broker', 'users', { users: 'users.yaml', broker: 'mqtt://127.0.0.1:1' }, undefined, false, /cannot both be set/],
    ['another broker', 'users', { broker: 'mqtt://bob:top-secret@127.0.0.1:1' }, undefined, null, /^those of the broker at mqtt:\/\/127\.0\.0\.1:1:/],
    ['nobody without a name', 'anonymous', {}, USERS, true, /is not let in/],
    ['displays without a name', 'anonymous', { allowAnonymous: true }, USERS, null, /let in as a display/],
    ['no operator', 'operator', {}, USERS.slice(0, 2), 'warning', /nobody is one.*--role operator/],
    ['a user who can only show a certificate that nobody asks for', 'certificates only', {}, [...USERS, { name: 'cam-1', role: 'device' }], 'warning', /^cam-1 cannot log in.*--tls-ca/],
    ['no TLS, this machine only', 'TLS', {}, USERS, null, /off: nothing leaves this machine/],
    ['no TLS, a network', 'TLS', { host: '0.0.0.0' }, USERS, 'warning', /others reach 0\.0\.0\.0.*--tls-cert/],
    ['web pages of this machine', 'web pages', {}, undefined, null, /of localhost, 127\.0\.0\.1, \[::1\] may connect, and no others/],
    ['web pages of others', 'web pages', { host: '192.0.2.1', wsOrigins: ['https://display.example'] }, USERS, null, /\[::1\], 192\.0\.2\.1 may connect, and https:\/\/display\.example/]
  ])('%s', async (_, name, settings, users, state, words) => {
    const check = await said(name, settings, users)
    expect(check).toMatchObject({ ok: state === 'warning' ? true : state, said: expect.stringMatching(words) as string })
    expect(check?.warning ?? false).toBe(state === 'warning')
  })

  test('a check that does not concern anybody is not there', async () => {
    for (const name of ['operator', 'certificates only', 'certificate', 'private key']) expect(await said(name, {}, USERS), name).toBeUndefined()
  })

  test.each([[0o640, true, /its owner and its group may read it \(mode 640\)/], [0o644, false, /other users of this machine may read.*chmod 600/], [0o660, false, /may change.*chmod 600/]])('a users file of mode %o', async (mode, ok, words) => {
    expect(await said('users', {}, USERS, mode)).toMatchObject({ ok, said: expect.stringMatching(words) as string })
  })

  test.each<[number, boolean, boolean, RegExp]>([[90, true, false, /ends in 90 days, on \d{4}-\d\d-\d\d$/], [29, true, true, /in 29 days.*: renew it/], [13, false, false, /in 13 days.*: renew it/]])('a certificate that ends in %i days', async (days, ok, isWarning, words) => {
    const tls = new TestAuthority().issue('parking', { names: ['parking.example'], untilMs: Date.now() + (days + 0.5) * DAY_MS })
    const check = await said('certificate', { tls }, USERS)
    expect(check).toMatchObject({ ok, said: expect.stringMatching(words) as string })
    expect(check?.warning ?? false).toBe(isWarning)
  })

  test('client certificates, and a key that others may read', async () => {
    const authority = new TestAuthority()
    const tls = authority.issue('localhost')
    const transport = async (more: object): Promise<string | undefined> => (await said('TLS', { tls: { ...tls, ...more } }, USERS))?.said
    expect(await transport({})).toMatch(/on, 1\.2 and later.*not asked for/)
    expect(await transport({ ca: authority.file })).toMatch(/is a way to log in/)
    expect(await transport({ ca: authority.file, clientCertificates: 'required' })).toMatch(/every client must have/)
    chmodSync(tls.key, 0o644)
    expect(await said('private key', { tls }, USERS)).toMatchObject({ warning: true, said: expect.stringMatching(/may read .*\(mode 644\).*chmod 600/) as string })
    chmodSync(tls.key, 0o600)
    expect(await said('private key', { tls }, USERS)).toBeUndefined()
    expect(await said('certificate', { tls: { ...tls, key: '/nowhere.pem' } }, USERS)).toMatchObject({ ok: false, said: expect.stringMatching(/cannot read the private key file \/nowhere\.pem/) as string })
  })
})

describe('doctor beside a running broker', () => {
  const begin = async (): Promise<{ folder: string, args: string[], ca: string }> => {
    const folder = temporaryFolder()
    const authority = new TestAuthority()
    const { cert, key } = authority.issue('localhost')
    chmodSync(key, 0o600)
    mkdirSync(join(folder, 'data'))
    await writeUsers(USERS, join(folder, 'data', 'users.yaml'))
    const { port } = await startProcess(join(folder, 'data'), ['--tls-cert', cert, '--tls-key', key])
    return { folder, args: ['--tls-cert', cert, '--tls-key', key, '--port', String(port)], ca: authority.file }
  }

  test('knows it by its certificate, by the log-in that it asks for, and by its answer', async () => {
    const { folder, args, ca } = await begin()
    expect(await doctor(folder, args)).toMatchObject({ code: 0, out: expect.stringMatching(/running service +- +mqtts:\/\/127\.0\.0\.1:\d+ runs with this certificate; give its authority with --ca/) as string })
    expect(await doctor(folder, [...args, '--ca', ca])).toMatchObject({ code: 0, out: expect.stringMatching(/running service +- +mqtts:.*lets in only users: give --user/) as string })
    const asked = await doctor(folder, [...args, '--ca', ca, '--user', 'olga', '--password-stdin'], { input: 'olga-password' })
    expect(asked).toMatchObject({ code: 0, out: expect.stringMatching(/running service +ok +mqtts:.*"service":"reservation"/) as string })
    const wrong = await doctor(folder, [...args, '--ca', ca, '--user', 'olga', '--password-stdin', '--json'], { input: 'guess-guess' })
    expect(wrong.code).toBe(1)
    expect((JSON.parse(wrong.out) as { checks: Check[] }).checks.at(-1)).toMatchObject({ name: 'running service', ok: false, said: expect.stringMatching(/refused this client.*check user and password/) as string })
    for (const { out, err } of [asked, wrong]) for (const hidden of ['$scrypt$', 'olga-password', 'guess-guess']) expect(out + err).not.toContain(hidden)
  })

  test('a port that somebody else has is wrong, and a warning alone is not', async () => {
    const { folder, args } = await begin()
    const other = new TestAuthority().issue('localhost')
    chmodSync(other.key, 0o600)
    const taken = await doctor(folder, [...args.slice(-2), '--tls-cert', other.cert, '--tls-key', other.key])
    expect(taken).toMatchObject({ code: 1, out: expect.stringMatching(/MQTT port +NO +127\.0\.0\.1:\d+: .*EADDRINUSE/) as string })
    writeFileSync(join(folder, 'users.yaml'), 'users: []\n', { mode: 0o600 })
    expect(await doctor(folder, ['--users', 'users.yaml', '--host', '0.0.0.0', '--port', '0', '--ws-port', '0'])).toMatchObject({ code: 0, out: expect.stringMatching(/TLS +warn/) as string })
  })
})

test('doctor says how long the disk takes to sync, and of a folder that cannot be written why', async () => {
  const folder = temporaryFolder()
  expect(await checkDisk(folder)).toMatchObject({ name: 'disk', ok: true, said: expect.stringMatching(/^a sync takes \d+(\.\d+)? ms/) as string })
  expect(readdirSync(folder)).toEqual([])
  expect(await checkDisk(join(folder, 'absent'))).toMatchObject({ ok: false, said: expect.stringMatching(/absent cannot be written and synced: ENOENT/) as string })
})
