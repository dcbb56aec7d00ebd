// What every client command shares: the broker's URL, a connection with requests, and errors with their exit codes.
import { Command, Option } from 'commander'
import { defaultUrl } from '../shared/config.js'
import type { Reply } from '../shared/schemas.js'
import { connectMqtt, endMqtt } from '../shared/mqtt-client.js'
import { createRequester } from '../shared/requester.js'
import { EXIT } from './exit.js'

export interface ClientOptions {
  url: string
  json?: boolean
  timeout: string
}

/** A command that speaks to a running parkmq, with the options that all of those have. */
export function clientCommand (name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .addOption(new Option('--url <url>', 'the broker (PARKMQ_URL)').default(defaultUrl()))
    .option('--timeout <seconds>', 'how long to wait for a reply', '5')
    .option('--json', 'print the reply as JSON, for programs')
}

export type Call = (method: string, body: object) => Promise<Reply>

/** Connects, runs `work`, and disconnects whatever happens. */
export async function withService<T> ({ url, timeout }: ClientOptions, work: (call: Call) => Promise<T>): Promise<T> {
  const timeoutMs = Number(timeout) * 1_000
  if (!(timeoutMs > 0 && timeoutMs <= 600_000)) throw new UsageError(`--timeout ${timeout} is not a number of seconds from 0 to 600`)
  const client = await connectMqtt(url)
  try {
    const requester = await createRequester(client, { timeoutMs })
    try {
      return await work(async (method, body) => await requester.request(method, body))
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
    if (!options.json) process.stderr.write(`refused (${reply.error.code}): ${reply.error.message}\n`)
    process.exitCode = reply.error.code === 'bad_request' ? EXIT.usage : EXIT.refused
    return null
  }
  const result = reply.result as R
  if (!options.json) process.stdout.write(`${show(result)}\n`)
  return result
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
