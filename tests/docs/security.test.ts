// docs/security.md is run as a reader would run it: every command, in order, in an empty folder, with two terminals, a real
// parkmq, openssl and the mosquitto clients; and what is printed must be what the page says.
//
// The page says 8883 and 9443, and `parkmq`. Here these two ports are any free ones: parkmq gets them by PARKMQ_PORT and
// PARKMQ_WS_PORT, and in commands and outputs the numbers are replaced. `parkmq` is a link to bin/parkmq.js, which runs
// what `npm run build` has made. HOME is the empty folder, nothing else of the environment is passed on, and nothing
// leaves this machine.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { Config } from '../../shared/config.js'
import { afterThisTest, temporaryFolder } from '../support/broker.js'
import { Terminal, whyNoTerminal } from '../support/terminal.js'
import { commandsOf, endsOf, type Command } from './page.js'

const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const PAGE = readFileSync(at('docs/security.md'), 'utf8')
const NEEDED = { openssl: 'openssl', mosquitto_pub: 'mosquitto-clients', mosquitto_sub: 'mosquitto-clients', mosquitto_rr: 'mosquitto-clients' }

/** A silent skip would look like a pass. */
function whyNot (): string | null {
  const missing = Object.entries(NEEDED).filter(([program]) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0)
  const why = missing.length === 0 ? whyNoTerminal() : `${missing.map(([program, pkg]) => `${program} (Debian: ${pkg})`).join(', ')} not installed`
  if (why !== null) process.stderr.write(`docs/security.md is not run: ${why}\n`)
  return why
}

async function freePorts (): Promise<[number, number]> {
  const servers = [createServer(), createServer()]
  for (const server of servers) await once(server.listen(0, '127.0.0.1'), 'listening')
  const [port = 0, wsPort = 0] = servers.map(server => (server.address() as AddressInfo).port)
  for (const server of servers) await once(server.close(), 'close')
  return [port, wsPort]
}

interface Room {
  readonly folder: string
  readonly first: Terminal
  readonly second: Terminal
  /** The page's ports in a text replaced by those of this run. */
  readonly here: (text: string) => string
}

async function enter (): Promise<Room> {
  const [port, wsPort] = await freePorts()
  const [folder, scratch] = [temporaryFolder(), temporaryFolder()]
  mkdirSync(join(scratch, 'bin'))
  symlinkSync(at('bin/parkmq.js'), join(scratch, 'bin', 'parkmq'))
  const path = [join(scratch, 'bin'), dirname(process.execPath), process.env.PATH ?? ''].join(delimiter)
  const env = { PATH: path, HOME: folder, LC_ALL: 'C.UTF-8', PARKMQ_PORT: String(port), PARKMQ_WS_PORT: String(wsPort) }
  const open = async (): Promise<Terminal> => {
    const terminal = await Terminal.open(folder, scratch, env)
    afterThisTest(async () => await terminal.close())
    return terminal
  }
  return { folder, first: await open(), second: await open(), here: text => text.replaceAll('8883', String(port)).replaceAll('9443', String(wsPort)) }
}

async function carryOut ({ first, second, here }: Room, command: Command): Promise<void> {
  const where = `docs/security.md, line ${command.line}: ${command.text}`
  const shows = async (output: string): Promise<void> => await first.shows(lines => endsOf(here(output), lines, true).at(0), `${where}\n${output}`)
  if (command.first) {
    await first.interrupt()
    first.start(here(command.text))
    if (command.prints !== null) await shows(command.prints)
    return
  }
  const { code, said } = await second.run(here(command.text))
  expect(command.fails ? code !== 0 : code === 0, `${where}\nended with ${code} and said:\n${said}`).toBe(true)
  const lines = said.trimEnd().split('\n')
  if (command.prints !== null && !endsOf(here(command.prints), lines).includes(lines.length)) expect(said, where).toBe(here(command.prints))
  if (command.firstShows !== null) await shows(command.firstShows)
}

function filesIn (folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name))
}

test.skipIf(whyNot() !== null)('every command of docs/security.md does what the page says, and no secret is seen or lies about', { timeout: 240_000 }, async () => {
  const room = await enter()
  const secrets = new Set<string>()
  const passwords = (): string[] => readdirSync(room.folder).filter(name => name.endsWith('.password')).map(name => join(room.folder, name))
  for (const command of commandsOf(PAGE)) {
    await carryOut(room, command)
    for (const file of passwords()) secrets.add(readFileSync(file, 'utf8').trim())
  }
  await room.first.interrupt()

  expect(secrets.size).toBe(4)
  const shown = room.first.screen + room.second.screen
  for (const secret of secrets) expect(secret).toMatch(/^[a-z0-9]{26}$/)
  for (const secret of [...secrets, 'guess-guess', '$scrypt$', 'PRIVATE KEY']) expect(shown).not.toContain(secret)
  const log = room.first.screen
  for (const hidden of ['ABC123', '"secret"']) expect(log).not.toContain(hidden)
  const stored = filesIn(join(room.folder, 'data'))
  expect(stored.map(file => file.slice(room.folder.length + 1)).sort()).toEqual(expect.arrayContaining(['data/ledger.db', 'data/sessions.db', 'data/users.yaml']))
  for (const file of stored) {
    const bytes = readFileSync(file)
    for (const secret of [...secrets, 'guess-guess']) expect(bytes.includes(secret), `${file} has a password`).toBe(false)
    // The lock is empty.
    if (bytes.length > 0) expect((statSync(file).mode & 0o077).toString(8), `${file} is for its owner only`).toBe('0')
  }
})

test.each(['SECURITY.md', 'docs/security.md'])('the files and settings that %s names are there', page => {
  const text = readFileSync(at(page), 'utf8')
  const links = [...text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(([, link = '']) => join(dirname(page), link))
  const files = [...text.matchAll(/`((?:tests|broker|shared|docs)\/[\w./-]+)`/g)].map(([, file = '']) => file)
  expect(links.length).toBeGreaterThan(1)
  for (const file of [...links, ...files]) expect(existsSync(at(file)), file).toBe(true)
  const settings = [...text.matchAll(/`((?:limits|times)\.\w+)`/g)].map(([, setting = '']) => setting)
  expect(settings.length).toBeGreaterThan(0)
  const { limits, times } = Config.parse({})
  const known = [...Object.keys(limits).map(key => `limits.${key}`), ...Object.keys(times).map(key => `times.${key}`)]
  expect(settings.filter(setting => !known.includes(setting))).toEqual([])
})

test('the log lines and metrics that docs/security.md names are those of the code', () => {
  const lines = /\| what \| log line[^]*?\n\n/.exec(PAGE)?.[0].split('\n').slice(2) ?? []
  const named = lines.flatMap(line => [...line.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name))
  const code = ['broker', 'shared', 'services'].flatMap(folder => filesIn(at(folder))).filter(file => file.endsWith('.ts')).map(file => readFileSync(file, 'utf8')).join('\n')
  const metrics = named.filter(name => name.startsWith('parkmq_'))
  expect(metrics.length).toBeGreaterThan(4)
  expect(metrics.filter(metric => !code.includes(`'${metric.replace(/^parkmq_|\{.*$/g, '')}'`))).toEqual([])
  const words = named.filter(name => /^[a-z.]+ /.test(name)).map(name => name.replace(/^\.{3} |(?:: | )?\.{3}$/g, ''))
  expect(words.length).toBeGreaterThan(6)
  expect(words.filter(one => !code.includes(one))).toEqual([])
})
