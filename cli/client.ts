// What every client command shares: the broker's URL, who one is there and whom one trusts, a connection with requests,
// and errors with their exit codes. A password never comes from a flag, where `ps` shows it.
import { Command, Option } from 'commander'
import type { MqttClient } from 'mqtt'
import { text } from 'node:stream/consumers'
import { clientEnvironment, defaultUrl } from '../shared/config.js'
import type { Reply } from '../shared/schemas.js'
import { BrokerUrls } from '../shared/broker-urls.js'
import { brokerOf, connectMqtt, endMqtt, type ConnectOptions } from '../shared/mqtt-client.js'
import { readClientTls, TLS_PROTOCOLS, type ClientTlsFiles } from '../shared/mqtt-tls.js'
import { createRequester, type Requester } from '../shared/requester.js'
import { EXIT } from './exit.js'
import { ask } from './prompt.js'

/** Who one is, and whom one trusts. */
export interface LoginOptions extends ClientTlsFiles {
  user?: string
  /** The flag that `user` is from, for messages; default `--user`. */
  userFlag?: UserFlag
  passwordStdin?: boolean
}

export interface ClientOptions extends LoginOptions {
  url: string
  json?: boolean
  timeout: string
}

/** The flag that names who logs in: another where `--user` means something else. */
export type UserFlag = '--user' | '--login'

/** A command that speaks to a running parkmq, with the options that all of those have. */
export function clientCommand (name: string, description: string, userFlag: UserFlag = '--user'): Command {
  return connectedCommand(name, description, userFlag)
    .option('--json', 'print the reply as JSON, for programs')
}

/** The same for people alone. */
export function connectedCommand (name: string, description: string, userFlag: UserFlag = '--user'): Command {
  return withLogin(new Command(name)
    .description(description)
    .addOption(new Option('--url <url>', 'the broker, mqtt://, mqtts://, ws:// or wss://, or several with commas between them: whoever loses one moves to the next (PARKMQ_URL)').default(defaultUrl())), userFlag)
    .option('--timeout <seconds>', 'how long to wait for a reply', '5')
}

/** Adds the options of `loginOf`. */
export function withLogin (command: Command, userFlag: UserFlag = '--user'): Command {
  return command
    .option(`${userFlag} <name>`, 'log in as this user (PARKMQ_USER); the password is PARKMQ_PASSWORD, or asked for')
    .option('--password-stdin', 'read the password from a pipe or file')
    .option('--ca <file>', 'trust this authority besides the usual ones, for mqtts:// and wss:// (PARKMQ_CA)')
    .option('--cert <file>', 'show this certificate to the broker (PARKMQ_CERT)')
    .option('--key <file>', 'the private key of --cert (PARKMQ_KEY)')
}

/**
 * Reads the files and the password. A user in the URL, the first of several, is taken as well, with its password if one is there. Throws
 * `UsageError`, and `OperatorError`: `bad_url`, and `bad_certificate` that names the file.
 */
export async function loginOf (url: string, options: LoginOptions): Promise<Pick<ConnectOptions, 'tls' | 'username' | 'password'>> {
  const given = clientEnvironment()
  const urls = new BrokerUrls(url).given.map(url => new URL(url))
  const parsed = urls[0] ?? null
  const { userFlag = '--user' } = options
  const isSecure = urls.some(({ protocol }) => TLS_PROTOCOLS.has(protocol))
  for (const flag of ['ca', 'cert', 'key'] as const) {
    if (options[flag] !== undefined && !isSecure) throw new UsageError(`--${flag} is for connections with TLS: write mqtts:// or wss:// in --url, or leave it out`)
  }
  const tls = isSecure ? await readClientTls({ ca: options.ca ?? given.ca, cert: options.cert ?? given.cert, key: options.key ?? given.key }) : undefined
  if (options.user !== undefined && parsed !== null && parsed.username !== '') throw new UsageError(`the URL and ${userFlag} both name a user; leave one of them out`)
  const username = parsed !== null && parsed.username !== '' ? decodeURIComponent(parsed.username) : options.user ?? given.user
  const login = { ...tls !== undefined && { tls }, ...username !== undefined && { username } }
  if (username === undefined) {
    if (options.passwordStdin) throw new UsageError(`--password-stdin is the password of a user; name the user with ${userFlag}`)
    return login
  }
  if (parsed !== null && parsed.password !== '') return { ...login, password: decodeURIComponent(parsed.password) }
  if (options.passwordStdin) return { ...login, password: (await text(process.stdin)).replace(/\r?\n$/, '') }
  if (given.password !== undefined) return { ...login, password: given.password }
  // The certificate says who it is.
  if (tls?.cert !== undefined) return login
  if (!process.stdin.isTTY) throw new UsageError(`there is no password for ${username} and no terminal to ask for it: set PARKMQ_PASSWORD, or pipe it in with --password-stdin`)
  return { ...login, password: Buffer.from(await ask(process.stdin, process.stderr, `password for ${username}: `)).toString() }
}

/** Connects as the options say. Throws as `loginOf` and `connectMqtt` do. */
export async function connectClient (options: ClientOptions, connecting: ConnectOptions = {}): Promise<MqttClient> {
  return await connectMqtt(options.url, { learn: true, ...connecting, ...await loginOf(options.url, options) })
}

export type Call = (method: string, body: object) => Promise<Reply>

/** Connects, runs `work`, and disconnects whatever happens. `connecting` is for work that lasts, such as watching. */
export async function withService<T> (options: ClientOptions, work: (call: Call, client: MqttClient, requester: Requester) => Promise<T>, connecting: Pick<ConnectOptions, 'reconnect'> = {}): Promise<T> {
  const { timeout } = options
  const timeoutMs = Number(timeout) * 1_000
  if (!(timeoutMs > 0 && timeoutMs <= 600_000)) throw new UsageError(`--timeout ${timeout} is not a number of seconds above 0 and up to 600`)
  const client = await connectClient(options, connecting)
  try {
    const requester = await createRequester(client, { timeoutMs })
    try {
      return await work(async (method, body) => await requester.request(method, body), client, requester)
    } finally {
      await requester.close()
    }
  } finally {
    await endMqtt(client)
  }
}

/** Makes one request and prints its reply: as JSON, or the way `show` says. A refusal goes to stderr, exit code 1. */
export async function requestAndPrint<R> (options: ClientOptions, method: string, body: object, show: (result: R) => string): Promise<R | null> {
  const reply = await withService(options, async call => await call(method, body))
  return printReply(options, reply, show)
}

export function printReply<R> (options: ClientOptions, reply: Reply, show: (result: R) => string): R | null {
  if (options.json) process.stdout.write(`${JSON.stringify(reply)}\n`)
  if (!reply.ok) {
    if (!options.json) process.stderr.write(`${refusalText(reply.error)}\n`)
    process.exitCode = reply.error.code === 'bad_request' ? EXIT.usage : EXIT.refused
    return null
  }
  const result = reply.result as R
  if (!options.json) process.stdout.write(`${show(result)}\n`)
  return result
}

/** Tells of a connection that is lost, which is made again, and of each that is made. */
export function tellOfConnection (client: MqttClient, tell: (note: string) => void): void {
  let lost = false
  client.on('close', () => {
    // That it ends is what was asked for; and it is lost once, however many tries it takes.
    if (client.disconnecting || lost) return
    lost = true
    tell(`connection to ${brokerOf(client)} lost; connecting again`)
  })
  client.on('connect', () => {
    if (lost) tell(`connected to ${brokerOf(client)} again`)
    lost = false
  })
}

/** A refusal as a sentence for people. */
export function refusalText ({ code, message }: { code: string, message: string }): string {
  return `refused (${code}): ${message}`
}

/** The person used the command wrongly; the message names the value and the fix. */
export class UsageError extends Error {
  readonly code = 'usage'
}

/** Seconds of `90`, `90s`, `15m` or `2h`. */
export function seconds (text: string, option: string): number {
  const match = /^(\d+)(s|m|h)?$/.exec(text)
  if (!match) throw new UsageError(`${option} ${text} is not a time; write 90s, 15m or 1h`)
  return Number(match[1]) * { s: 1, m: 60, h: 3_600 }[(match[2] ?? 's') as 's' | 'm' | 'h']
}

export function wholeNumber (text: string, option: string): number {
  if (!/^-?\d+$/.test(text)) throw new UsageError(`${option} ${text} is not a whole number`)
  return Number(text)
}
