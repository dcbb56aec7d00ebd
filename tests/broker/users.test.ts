// The users file: what is taken, what is refused and how that is said, how it is changed, and that a change is noticed.
import { chmodSync, existsSync, linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { checkExposure, isLoopback } from '../../broker/exposure.js'
import { hashPassword } from '../../broker/password.js'
import { editUsersFile, MAX_USERS, readUsersFile, UserEntry, usersFileOf } from '../../broker/users-file.js'
import type { UsersChange } from '../../broker/users.js'
import { Config } from '../../shared/config.js'
import { counterValues } from '../../shared/metrics.js'
import { temporaryFolder } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'
import { writeUsers } from '../support/users-file.js'
import { openTestUsers, usersFile } from '../support/users.js'

function written (text: string): string {
  const file = join(temporaryFolder(), 'users.yaml')
  writeFileSync(file, text, { mode: 0o600 })
  return file
}

const user = (entry: Record<string, unknown>): UserEntry => UserEntry.parse({ role: 'driver', ...entry })

describe('a users file', () => {
  test('says who may do what, with or without a password', async () => {
    const { users } = await openTestUsers(await usersFile([
      { name: 'gate-1', role: 'device', lots: ['LOT-A', 'LOT-B'], password: 'secret' }, { name: 'olga', role: 'operator', certificate: 'Olga Operator' }
    ]))
    expect(users.size).toBe(2)
    expect(users.find('gate-1')).toMatchObject({ name: 'gate-1', role: 'device', lots: ['LOT-A', 'LOT-B'], certificate: 'gate-1', password: { ln: 4 } })
    expect(users.find('olga')).toMatchObject({ role: 'operator', lots: [], password: null })
    expect(users.byCertificate('Olga Operator')).toBe(users.find('olga'))
    expect(users.byCertificate('olga')).toBeUndefined()
    expect(users.byCertificate('gate-1')).toBe(users.find('gate-1'))
    for (const name of ['nobody', '__proto__', 'constructor', '']) expect(users.find(name)).toBeUndefined()
  })

  test('may be JSON, may be empty of users, and may carry comments', async () => {
    expect(await readUsersFile(written('{"users":[{"name":"a","role":"display"}]}'))).toEqual([{ name: 'a', role: 'display' }])
    expect(await readUsersFile(written('users: []'))).toEqual([])
    expect(await readUsersFile(written('# ours\nusers:\n  # the desk\n  - {name: a, role: display} # here\n'))).toHaveLength(1)
  })

  test.each([
    ['nothing', '', /expected object/],
    ['a list', '- name: a', /line 1: .*expected object/],
    ['no users', 'user: []', /users/],
    ['another key', 'users: []\nadmin: me', /Unrecognized key: "admin"/],
    ['an unknown key of a user', 'users:\n  - name: olga\n    role: operator\n    pasword: x\n', /line 2: user olga: .*"pasword"/],
    ['an unknown role', 'users:\n  - name: gate-1\n    role: device\n  - name: olga\n    role: root\n', /line 5: user olga: role: .*"operator"/],
    ['the role that is only for who has no users', 'users: [{name: olga, role: local}]', /line 1: user olga: role: /],
    ['a name that is none', 'users:\n  - role: driver\n    name: a/b\n', /line 3: user a\/b: name: must match/],
    ['a name twice', 'users:\n- {name: a, role: driver}\n- {name: b, role: driver}\n- {name: a, role: driver}\n', /line 4: user a: name: a is there twice/],
    ['a certificate that is somebody else\'s', 'users:\n- {name: a, role: driver}\n- {name: b, role: driver, certificate: a}\n', /line 3: user b: certificate: .*common name a would be a as well/],
    ['lots of a driver', 'users: [{name: a, role: driver, lots: [LOT-A]}]', /user a: lots: lots are for devices/],
    ['a lot that is none', 'users:\n  - name: a\n    role: device\n    lots: [LOT-A, "+"]\n', /line 4: user a: lots\.1: must be the id of a lot/],
    ['a password instead of its hash', 'users:\n  - name: a\n    role: driver\n    password: hunter22\n', /line 4: user a: password: must be a hash made by `parkmq user passwd`/],
    ['what is no YAML', 'users:\n  - name: a\n   role: b\n', /line 3: /],
    ['a key twice', 'users: []\nusers: []', /line 2: .*unique/],
    ['aliases', 'users: &a [{name: a, role: driver}]\nmore: *a', /wrong users file/]
  ])('with %s is refused, and the words name the place but never a secret', async (_, text, message) => {
    const file = written(text)
    const error = await readUsersFile(file).then(() => null, (thrown: Error) => thrown)
    expect(error).toMatchObject({ code: 'bad_users_file', message: expect.stringMatching(message) as string })
    expect(error?.message).toContain(file)
    expect(error?.message).not.toContain('hunter22')
  })

  test('with a fault of YAML beside a hash does not quote the hash', async () => {
    const hash = await hashPassword('secret', 'random')
    const error = await readUsersFile(written(`users:\n  - name: a\n    role: driver\n    password: ${hash}\n   wrong: x\n`)).then(() => null, (thrown: Error) => thrown)
    expect(error?.message).toMatch(/line 5/)
    expect(error?.message).not.toContain('$scrypt')
  })

  test('has a limit', async () => {
    const file = written(`users:\n${Array.from({ length: MAX_USERS + 1 }, (_, i) => `- {name: u${i}, role: driver}\n`).join('')}`)
    await expect(readUsersFile(file)).rejects.toThrow(/users: must have at most 10000 entries/)
  })

  test('that is not there is an error with the command that makes it', async () => {
    await expect(readUsersFile('/nowhere/users.yaml')).rejects.toMatchObject({ code: 'no_users_file', message: expect.stringContaining('parkmq user add NAME --role ROLE --users /nowhere/users.yaml') as string })
  })

  test.each([[0o644, 'read'], [0o604, 'read'], [0o660, 'change'], [0o602, 'change']])('that others can get at (mode %o) is refused', async (mode, may) => {
    const file = written('users: []')
    chmodSync(file, mode)
    await expect(readUsersFile(file)).rejects.toMatchObject({ code: 'unsafe_users_file', message: expect.stringMatching(new RegExp(`may ${may} .*chmod 600`)) as string })
  })

  test('that a group may read is taken', async () => {
    const file = written('users: []')
    chmodSync(file, 0o640)
    expect(await readUsersFile(file)).toEqual([])
  })
})

describe('a change of the file', () => {
  test('makes it where it is not, for its owner only, also the folder', async () => {
    const file = join(temporaryFolder(), 'data', 'users.yaml')
    expect(await editUsersFile(file, () => [user({ name: 'a' })], { make: true })).toEqual({ made: true })
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(statSync(dirname(file)).mode & 0o777).toBe(0o700)
    expect(readFileSync(file, 'utf8')).toMatch(/^# Who may connect/)
    expect(await readUsersFile(file)).toEqual([user({ name: 'a' })])
  })

  test('does not make it by mistake', async () => {
    const file = join(temporaryFolder(), 'users.yaml')
    await expect(editUsersFile(file, users => users)).rejects.toMatchObject({ code: 'no_users_file' })
    expect(existsSync(file)).toBe(false)
  })

  test('keeps comments, order and what it does not touch', async () => {
    const file = written('# ours\nusers:\n  # the desk\n  - name: olga # since May\n    role: operator\n  - {name: gate-1, role: device, lots: [LOT-A]}\n  - name: bob\n    role: driver\n')
    const password = await hashPassword('secret', 'random')
    await editUsersFile(file, users => [...users.filter(({ name }) => name !== 'bob').map(u => u.name === 'olga' ? { ...u, password } : u), user({ name: 'new', role: 'device', lots: ['LOT-B', '*'] })])
    expect(readFileSync(file, 'utf8')).toBe(`# ours\nusers:\n  # the desk\n  - name: olga # since May\n    role: operator\n    password: ${password}\n  - { name: gate-1, role: device, lots: [ LOT-A ] }\n  - name: new\n    role: device\n    lots: [ LOT-B, "*" ]\n`)
  })

  test('that would make it wrong, or throws, leaves it as it was, and nothing beside it', async () => {
    const file = written('users: [{name: a, role: driver}]\n')
    await expect(editUsersFile(file, users => [...users, user({ name: 'b', certificate: 'a' })])).rejects.toMatchObject({ code: 'bad_users_file' })
    await expect(editUsersFile(file, () => { throw new Error('changed my mind') })).rejects.toThrow('changed my mind')
    expect(readFileSync(file, 'utf8')).toBe('users: [{name: a, role: driver}]\n')
    expect(readdirSync(dirname(file))).toEqual(['users.yaml'])
  })

  test('keeps the mode of a file that a group may read, and a link a link', async () => {
    const file = written('users: []')
    chmodSync(file, 0o640)
    const link = join(dirname(file), 'link.yaml')
    symlinkSync(file, link)
    await editUsersFile(link, () => [user({ name: 'a' })])
    expect(statSync(file).mode & 0o777).toBe(0o640)
    expect(await readUsersFile(file)).toHaveLength(1)
    expect(readdirSync(dirname(file)).sort()).toEqual(['link.yaml', 'users.yaml'])
  })

  test('is a new file in the place of the old one, so that whoever reads has one or the other', async () => {
    const file = written('users: []\n')
    linkSync(file, `${file}.before`)
    await editUsersFile(file, () => [user({ name: 'a' })])
    expect(readFileSync(`${file}.before`, 'utf8')).toBe('users: []\n')
  })

  test('waits for another one: of twenty at once none is lost', async () => {
    const file = written('users: []\n')
    await Promise.all(Array.from({ length: 20 }, (_, i) => editUsersFile(file, users => [...users, user({ name: `u${i}` })])))
    expect((await readUsersFile(file)).map(({ name }) => name).sort()).toEqual(Array.from({ length: 20 }, (_, i) => `u${i}`).sort())
  })

  test('says what to do when one was killed in the middle', async () => {
    const file = written('users: []\n')
    writeFileSync(`${file}.lock`, '')
    await expect(editUsersFile(file, users => users, { lockWithinMs: 50 })).rejects.toMatchObject({ code: 'users_file_in_use', message: expect.stringContaining(`delete ${file}.lock`) as string })
    expect(existsSync(`${file}.lock`)).toBe(true)
  })
})

describe('users who are looked after', () => {
  test('change when the file is changed, and who is not the same any more is told', async () => {
    const file = await usersFile([{ name: 'stays', password: 'x' }, { name: 'goes' }, { name: 'rises' }])
    const { users } = await openTestUsers(file)
    const stays = users.find('stays')
    const change = new Promise<UsersChange>(resolve => { users.onChange(resolve) })
    await editUsersFile(file, all => [...all.filter(({ name }) => name !== 'goes').map(u => u.name === 'rises' ? { ...u, role: 'operator' as const } : u), user({ name: 'comes' })])
    expect(await change).toMatchObject({ removed: ['goes'], changed: ['rises'] })
    expect(users.find('stays')).toBe(stays)
    expect(users.find('goes')).toBeUndefined()
    expect(users.find('rises')?.role).toBe('operator')
    expect(users.find('comes')).toBeDefined()
  })

  test('are found again by a look where the system tells nothing, as for a link that points elsewhere', async () => {
    const clock = new ManualClock()
    const folder = temporaryFolder()
    mkdirSync(join(folder, '1'))
    mkdirSync(join(folder, '2'))
    await writeUsers([{ name: 'old' }], join(folder, '1', 'users.yaml'))
    await writeUsers([{ name: 'new' }], join(folder, '2', 'users.yaml'))
    symlinkSync('1', join(folder, 'now'))
    const { users } = await openTestUsers(join(folder, 'now', 'users.yaml'), clock)
    const change = new Promise<UsersChange>(resolve => { users.onChange(resolve) })
    symlinkSync('2', join(folder, 'then'))
    renameSync(join(folder, 'then'), join(folder, 'now'))
    clock.advance(5_000)
    expect(await change).toMatchObject({ removed: ['old'], changed: [] })
  })

  test.each([
    ['wrong', (file: string) => writeFileSync(file, 'users: [{name: a, role: king}]')],
    ['gone', (file: string) => rmSync(file)],
    ['open to all', (file: string) => chmodSync(file, 0o666)]
  ])('stay when the file is %s, which is told once, and counted', async (_, spoil) => {
    const file = await usersFile([{ name: 'a', role: 'operator' }])
    const { users, lines, metrics } = await openTestUsers(file, new ManualClock())
    spoil(file)
    expect(await users.reload()).toBe(false)
    expect(await users.reload()).toBe(false)
    expect(users.find('a')?.role).toBe('operator')
    expect(lines().filter(line => String(line.msg).startsWith('the users stay as they were: '))).toHaveLength(1)
    expect((await counterValues(metrics))['parkmq_users_reloads_total{outcome=refused}']).toBe(1)
    await writeUsers([{ name: 'b' }], file)
    chmodSync(file, 0o600)
    expect(await users.reload()).toBe(true)
    expect([users.find('a'), users.find('b')?.role]).toEqual([undefined, 'driver'])
  })

  test('that only got a comment are nobody\'s news', async () => {
    const file = await usersFile([{ name: 'a' }])
    const { users, lines } = await openTestUsers(file, new ManualClock())
    users.onChange(() => { throw new Error('nobody changed') })
    writeFileSync(file, `# hello\n${readFileSync(file, 'utf8')}`)
    expect(await users.reload()).toBe(true)
    expect(lines()).toEqual([])
  })
})

describe('a start', () => {
  const settings = (values: Record<string, unknown>): Config => Config.parse({ data: '/nowhere', ...values })

  test('uses users.yaml of the data folder when it is there, another one when that is named', async () => {
    const file = await usersFile([])
    expect(usersFileOf(settings({ data: dirname(file) }))).toBe(file)
    expect(basename(file)).toBe('users.yaml')
    expect(usersFileOf(settings({}))).toBeNull()
    expect(usersFileOf(settings({ data: dirname(file), users: '/else/where.yaml' }))).toBe('/else/where.yaml')
    expect(usersFileOf(settings({ data: dirname(file), broker: 'mqtt://other' }))).toBeNull()
    expect(() => usersFileOf(settings({ users: 'a.yaml', broker: 'mqtt://other' }))).toThrow(/users \(a\.yaml\) and broker cannot both be set/)
  })

  test.each(['127.0.0.1', '127.1.2.3', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', 'localhost', 'LOCALHOST'])('%s is this machine', host => {
    expect(isLoopback(host)).toBe(true)
    expect(checkExposure(settings({ host }))).toBeNull()
  })

  test.each(['0.0.0.0', '::', '10.0.0.7', '::ffff:10.0.0.7', 'car-park.example', '127.0.0.1.example', 'localhost.example', '128.0.0.1', 'fe80::1', ' '])('%j is a network, and refused without users', host => {
    const refused = (): unknown => checkExposure(settings({ host }))
    expect(refused).toThrow(expect.objectContaining({ code: 'bad_config' }) as Error)
    for (const way of ['parkmq user add', '--users', '--allow-anonymous', '--host 127.0.0.1']) expect(refused).toThrow(way)
  })

  test('a network is fine with users, with another broker, and, with a warning, when everybody is wanted', async () => {
    const host = '0.0.0.0'
    expect(checkExposure(settings({ host, users: 'users.yaml' }))).toBeNull()
    expect(checkExposure(settings({ host, data: dirname(await usersFile([])) }))).toBeNull()
    expect(checkExposure(settings({ host, broker: 'mqtt://other' }))).toBeNull()
    expect(checkExposure(settings({ host, allowAnonymous: true }))).toMatch(/whoever reaches 0\.0\.0\.0 may/)
  })
})
