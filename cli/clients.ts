// `parkmq clients`: who is connected to the broker or has a session there, how far each is behind and what it has lost;
// once, or again and again until Ctrl-C.
import { setTimeout } from 'node:timers/promises'
import type { Command } from 'commander'
import logUpdate from 'log-update'
import { messageOf } from '../shared/errors.js'
import { brokerOf } from '../shared/mqtt-client.js'
import { ClientList, firstIssue, type Reply } from '../shared/schemas.js'
import { clientCommand, printReply, withService, type ClientOptions } from './client.js'
import { EXIT } from './exit.js'
import { printable, table } from './table.js'

const EVERY_MS = 2_000

interface ClientsOptions extends ClientOptions {
  client?: string
  slow?: boolean
  watch?: boolean
}

const COLUMNS = `
A client has a row as long as the broker keeps its session, slow ones and long queues first:
  CLIENT         its client id
  STATE          connected; slow: it loses messages now, or takes none; away: not connected, its session waits for it
  INFLIGHT       messages sent to it and not acknowledged, of the most that may be (its window)
  QUEUED, KB     messages that wait for it, and their size
  SENT           messages sent to it
  DROPPED        messages it never gets: they made room for newer ones
  CONFLATED      messages replaced by a newer one of their topic before it took them
  PROGRESS       when it last took or acknowledged a message
  SUBS           its subscriptions
  MQTT, ADDRESS  the version it speaks, and where it comes from
SENT, DROPPED and CONFLATED count since its session began or the broker started.`

export function clientsCommand (): Command {
  return clientCommand('clients', 'list the clients of the broker and how far they are behind (for operators)')
    .option('--client <id>', 'only the client with this id')
    .option('--slow', 'only clients that lose messages now, or take none')
    .option('--watch', `ask again every ${EVERY_MS / 1_000} seconds until Ctrl-C`)
    .addHelpText('after', `${COLUMNS}\n\nWith --watch and --json each answer is one line.\nOnly the broker inside parkmq can tell; with another broker, ask that one.\n\nExamples:\n  parkmq clients\n  parkmq clients --slow --watch`)
    .action(async (options: ClientsOptions) => {
      if (options.watch) await watchClients(options)
      else print(options, await withService(options, async call => await call('clients', bodyOf(options))))
    })
}

function bodyOf ({ client, slow }: ClientsOptions): object {
  return { ...(client !== undefined && { client }), ...(slow && { slow }) }
}

/** Prints a reply. A client that is asked for by its id and is not there is exit code 1. */
function print (options: ClientsOptions, reply: Reply): void {
  const listed = printReply<unknown>(options, explained(reply), result => shown(listOf(result), options))
  if (listed !== null && options.client !== undefined && listOf(listed).clients.length === 0) process.exitCode = EXIT.refused
}

/** The services know no such method: then the broker is another, and only that one knows its clients. */
function explained (reply: Reply): Reply {
  if (reply.ok || reply.error.code !== 'unknown_method') return reply
  return { ok: false, error: { code: 'unknown_method', message: 'this parkmq runs with another broker than its own (or is older): clients cannot be listed here; ask that broker, most publish $SYS/broker/clients/...' } }
}

function listOf (result: unknown): ClientList {
  const parsed = ClientList.safeParse(result)
  if (!parsed.success) throw new Error(`the answer is not a list of clients: ${firstIssue(parsed.error)}`)
  return parsed.data
}

function shown ({ clients, more, at }: ClientList, { client, slow }: ClientsOptions): string {
  if (clients.length === 0) return client !== undefined ? `no client named ${printable(client)} has a session${slow ? ' and is slow' : ''}` : slow ? 'no client is slow' : 'no clients'
  const rows = clients.map(c => [
    printable(c.client), c.slow ? 'slow' : c.connected ? 'connected' : 'away', `${c.inflight}/${c.window}`, c.queued, Math.round(c.queuedBytes / 1_024), c.sent, c.dropped, c.conflated,
    ago(Date.parse(at) - Date.parse(c.lastProgress)), c.subscriptions, c.protocol, c.address
  ])
  const text = table(['CLIENT', 'STATE', 'INFLIGHT', 'QUEUED', 'KB', 'SENT', 'DROPPED', 'CONFLATED', 'PROGRESS', 'SUBS', 'MQTT', 'ADDRESS'], rows)
  return more === 0 ? text : `${text}\nand ${more} more that are less behind; --client shows any of them`
}

function ago (ms: number): string {
  const s = Math.max(0, Math.round(ms / 1_000))
  if (s < 120) return `${s}s ago`
  if (s < 7_200) return `${Math.round(s / 60)}m ago`
  return s < 172_800 ? `${Math.round(s / 3_600)}h ago` : `${Math.round(s / 86_400)}d ago`
}

async function watchClients (options: ClientsOptions): Promise<void> {
  const stopping = new AbortController()
  const stopped = new Promise<null>(resolve => stopping.signal.addEventListener('abort', () => resolve(null)))
  const onSignal = (): void => stopping.abort()
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  const live = process.stdout.isTTY && !options.json
  await withService(options, async (call, client) => {
    while (!stopping.signal.aborted) {
      try {
        const reply = await Promise.race([call('clients', bodyOf(options)), stopped])
        if (reply === null) break
        if (live && reply.ok) logUpdate(`${shown(listOf(reply.result), options)}\n\n${brokerOf(client)} · Ctrl-C ends`)
        else printReply<unknown>(options, explained(reply), result => shown(listOf(result), options))
        if (!reply.ok) break
      } catch (error) {
        process.stderr.write(`${brokerOf(client)}: ${messageOf(error)}; asking again\n`)
      }
      // It rejects when it is stopped, and the loop sees why.
      await setTimeout(EVERY_MS, undefined, { signal: stopping.signal }).catch(() => {})
    }
  }, { reconnect: true })
  if (live) logUpdate.done()
}
