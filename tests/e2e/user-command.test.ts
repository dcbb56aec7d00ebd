// `parkmq user` and what `parkmq start` makes of users, as a person calls them: the compiled program, files and exit codes.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parseHash, verifyPassword } from '../../broker/password.js'
import { readUsersFile } from '../../broker/users-file.js'
import { passwordFromPerson } from '../../cli/prompt.js'
import { testFolder } from '../support/app.js'

const PROGRAM = fileURLToPath(new URL('../../bin/parkmq.js', import.meta.url))

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Runs the compiled program (`npm run build`) in a folder, with this on its standard input and nothing of the tester's environment. */
async function run (folder: string, args: readonly string[], { input = '', env = {} }: { input?: string, env?: Record<string, string> } = {}): Promise<Ended> {
  const child = spawn(process.execPath, [PROGRAM, ...args], { cwd: folder, stdio: 'pipe', timeout: 20_000, env: { PATH: process.env.PATH, ...env } })
  const ended = once(child, 'close') as Promise<[number | null]>
  // It may end before it reads.
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)])
  const [code] = await ended
  return { code, out, err }
}

async function isPassword (file: string, name: string, password: string): Promise<boolean> {
  const hash = parseHash((await readUsersFile(file)).find(user => user.name === name)?.password ?? '')
  return hash !== null && await verifyPassword(hash, Buffer.from(password))
}

describe('parkmq user', () => {
  test('makes the usual file with the first user, says so, and shows a generated password once', async () => {
    const folder = testFolder()
    const file = join(folder, 'data', 'users.yaml')
    const added = await run(folder, ['user', 'add', 'gate-1', '--role', 'device', '--lot', 'LOT-A', 'LOT-B', '--generate'])
    expect(added).toMatchObject({ code: 0, err: expect.stringContaining('data/users.yaml is new: parkmq takes it at its next start') as string })
    const password = /^password: (\S+)$/m.exec(added.out)?.[1] ?? ''
    expect(password).toMatch(/^[0-9a-z]{26}$/)
    expect(await isPassword(file, 'gate-1', password)).toBe(true)
    expect(readFileSync(file, 'utf8')).not.toContain(password)
    expect(await readUsersFile(file)).toMatchObject([{ name: 'gate-1', role: 'device', lots: ['LOT-A', 'LOT-B'] }])
    expect(statSync(file).mode & 0o777).toBe(0o600)
    // The second is no news about the file.
    expect(await run(folder, ['user', 'add', 'desk', '--role', 'display', '--generate'])).toMatchObject({ code: 0, err: '' })
  })

  test('takes a password from a pipe, changes it, and lists without hashes', async () => {
    const folder = testFolder()
    const file = join(folder, 'who.yaml')
    const env = { PARKMQ_USERS: file }
    expect(await run(folder, ['user', 'add', 'olga', '--role', 'operator', '--password-stdin'], { env, input: 'battery staple\n' })).toMatchObject({ code: 0, out: `added olga (operator) to ${file}\n` })
    expect(await isPassword(file, 'olga', 'battery staple')).toBe(true)
    expect(await run(folder, ['user', 'passwd', 'olga', '--password-stdin'], { env, input: 'correct horse\r\n' })).toMatchObject({ code: 0 })
    expect(await isPassword(file, 'olga', 'battery staple')).toBe(false)
    expect(await isPassword(file, 'olga', 'correct horse')).toBe(true)
    const listed = await run(folder, ['user', 'list', '--users', file])
    expect(listed.out).toMatch(/USER +ROLE +LOTS +PASSWORD +CERTIFICATE +ADDED\nolga +operator +- +yes +olga +\d{4}-/)
    const asJson = await run(folder, ['user', 'list', '--json'], { env })
    expect(JSON.parse(asJson.out)).toMatchObject({ file, users: [{ name: 'olga', role: 'operator', password: true, certificate: 'olga' }] })
    expect(listed.out + asJson.out).not.toContain('scrypt')
    expect(await run(folder, ['user', 'remove', 'olga'], { env })).toMatchObject({ code: 0, out: `removed olga from ${file}\n` })
    expect(await run(folder, ['user', 'list'], { env })).toMatchObject({ code: 0, out: `nobody is in ${file}: nobody can log in\n` })
  })

  test('gives programs what they need as JSON', async () => {
    const folder = testFolder()
    const { out } = await run(folder, ['user', 'add', 'gate-1', '--role', 'device', '--lot', '*', '--generate', '--json'])
    const said = JSON.parse(out) as { file: string, user: object, password: string }
    expect(said).toMatchObject({ file: 'data/users.yaml', user: { name: 'gate-1', role: 'device', lots: ['*'], password: true } })
    expect(await isPassword(join(folder, said.file), 'gate-1', said.password)).toBe(true)
  })

  test('makes a user who has only a certificate', async () => {
    const folder = testFolder()
    expect(await run(folder, ['user', 'add', 'cam-1', '--role', 'device', '--certificate', 'Camera 1', '--data', '.'])).toMatchObject({ code: 0 })
    expect(await readUsersFile(join(folder, 'users.yaml'))).toMatchObject([{ name: 'cam-1', certificate: 'Camera 1' }])
    expect((await readUsersFile(join(folder, 'users.yaml')))[0]).not.toHaveProperty('password')
  })

  test.each<[string, string[], string, number, RegExp]>([
    ['a name that is none', ['add', 'a/b', '--role', 'driver', '--generate'], '', 2, /wrong user: name: must match/],
    ['no role', ['add', 'a', '--generate'], '', 2, /--role/],
    ['a role that is none', ['add', 'a', '--role', 'root', '--generate'], '', 2, /Allowed choices are device, driver, display, operator, service/],
    ['lots of a driver', ['add', 'a', '--role', 'driver', '--lot', 'LOT-A', '--generate'], '', 2, /--lot is for devices/],
    ['both ways to a password', ['add', 'a', '--role', 'driver', '--generate', '--password-stdin'], '', 2, /cannot be used with/],
    ['a password on the command line', ['add', 'a', '--role', 'driver', '--password', 'battery staple'], '', 2, /unknown option '--password'/],
    ['a short password', ['add', 'a', '--role', 'driver', '--password-stdin'], '1234567\n', 1, /too short; take at least 8/],
    ['no password', ['add', 'a', '--role', 'driver', '--password-stdin'], '', 1, /too short/],
    ['a password above the limit', ['add', 'a', '--role', 'driver', '--password-stdin'], 'x'.repeat(1_025), 1, /longer than 1024 bytes/],
    ['no terminal to ask', ['add', 'a', '--role', 'driver'], '', 2, /no terminal .* use --password-stdin, --generate/],
    ['a user who is there', ['add', 'olga', '--role', 'driver', '--generate'], '', 1, /there is a user olga in data\/users\.yaml already/],
    ['a user who is not there', ['passwd', 'nobody', '--generate'], '', 1, /there is no user "nobody"/],
    ['nobody to remove', ['remove', 'nobody'], '', 1, /there is no user "nobody"/],
    ['a file that is not there', ['list', '--users', 'nowhere.yaml'], '', 1, /there is no users file nowhere\.yaml; make it with: parkmq user add/]
  ])('refuses %s, and changes nothing', async (_, args, input, code, message) => {
    const folder = testFolder()
    mkdirSync(join(folder, 'data'))
    const file = join(folder, 'data', 'users.yaml')
    writeFileSync(file, 'users: [{name: olga, role: operator}]\n', { mode: 0o600 })
    const ended = await run(folder, ['user', ...args], { input })
    expect(ended).toMatchObject({ code, out: '', err: expect.stringMatching(message) as string })
    expect(readFileSync(file, 'utf8')).toBe('users: [{name: olga, role: operator}]\n')
  })
})

describe('a person at a terminal', () => {
  /** A terminal on which these keys are struck; what it shows and whether it shows what is typed. */
  const terminal = async (keys: readonly string[]): Promise<{ password: string, shown: string, raw: boolean[] }> => {
    const raw: boolean[] = []
    const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: (on: boolean) => raw.push(on) })
    const output = new PassThrough()
    for (const key of keys) input.write(key)
    const password = Buffer.from(await passwordFromPerson(input, output, 'olga')).toString()
    return { password, shown: (output.read() as Buffer).toString(), raw }
  }

  test('is asked twice and sees nothing of it', async () => {
    expect(await terminal(['battery staple\r', 'battery staple\r'])).toEqual({ password: 'battery staple', shown: 'password for olga: \nthe same again: \n', raw: [true, false, true, false] })
  })

  test('may correct what is typed, and use any letters', async () => {
    const typed = 'Füße€😀xyz'
    expect(await terminal([`wrong\u0015${typed}ab\u007f\u007f\r`, `${typed}\n`])).toMatchObject({ password: typed })
    const bytes = Buffer.from(`${typed}\r${typed}\r`)
    const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {} })
    for (const byte of bytes) input.write(Buffer.from([byte]))
    expect(Buffer.from(await passwordFromPerson(input, new PassThrough(), 'olga')).toString()).toBe(typed)
  })

  test.each([
    ['two that differ', ['battery staple\r', 'battery stable\r'], 'bad_password'],
    ['a short one', ['short\r'], 'bad_password'],
    ['Ctrl-C', ['batt\u0003'], 'interrupted'],
    ['Ctrl-D', ['\u0004'], 'interrupted']
  ])('with %s changes nothing', async (_, keys, code) => {
    await expect(terminal(keys)).rejects.toMatchObject({ code })
  })
})

describe('parkmq start', () => {
  test('does not listen to a network without users, and opens nothing', async () => {
    const folder = testFolder()
    const ended = await run(folder, ['start', '--host', '0.0.0.0', '--port', '0', '--ws-port', '0'])
    expect(ended).toMatchObject({ code: 2, out: '' })
    for (const way of ['parkmq user add', '--users FILE', '--host 127.0.0.1', '--allow-anonymous']) expect(ended.err).toContain(way)
    expect(existsSync(join(folder, 'data'))).toBe(false)
  })

  test('says no to users and another broker at once', async () => {
    expect(await run(testFolder(), ['start', '--users', 'users.yaml', '--broker', 'mqtt://127.0.0.1:1'])).toMatchObject({ code: 2, err: expect.stringMatching(/users \(users\.yaml\) and broker cannot both be set/) as string })
  })
})

test('a file that others may read is refused by every command, with the way out', async () => {
  const folder = testFolder()
  const file = join(folder, 'users.yaml')
  writeFileSync(file, 'users: []\n')
  chmodSync(file, 0o644)
  for (const command of [['list'], ['remove', 'a'], ['add', 'a', '--role', 'driver', '--generate']]) {
    expect(await run(folder, ['user', ...command, '--users', 'users.yaml'])).toMatchObject({ code: 1, err: expect.stringContaining('chmod 600 ./users.yaml') as string })
  }
})
