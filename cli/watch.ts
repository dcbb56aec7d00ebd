// `parkmq watch`: a live table of the lots from their retained states, until Ctrl-C. Silence is visible: a lot's
// quality, the services' status, and a lost connection are part of the picture.
import type { Command } from 'commander'
import logUpdate from 'log-update'
import { LotState } from '../shared/schemas.js'
import { lotOfTopic } from '../shared/topics.js'
import { brokerOf, endMqtt } from '../shared/mqtt-client.js'
import { clientCommand, connectClient, UsageError, type ClientOptions } from './client.js'
import { lotTable } from './lots.js'

/** Redraws at most so often: a busy lot changes more often than a person can read. */
const REDRAW_MS = 100
const STATUS = /^services\/([^/]+)\/([^/]+)\/status$/

export function watchCommand (): Command {
  return clientCommand('watch', 'show the lots live until Ctrl-C')
    .argument('[lots...]', 'only these lots')
    .addHelpText('after', '\nWith --json, or when the output is no terminal, each change is one line.')
    .action(async (only: string[], options: ClientOptions) => {
      for (const lot of only) if (/[/+#]/.test(lot)) throw new UsageError(`${lot} is not the id of a lot`)
      await watch(only, options)
    })
}

async function watch (only: readonly string[], options: ClientOptions): Promise<void> {
  const client = await connectClient(options, { reconnect: true })
  // From now on, also while the subscription is on its way.
  const signalled = untilSignal()
  const states = new Map<string, LotState>()
  const services = new Map<string, string>()
  const live = process.stdout.isTTY && !options.json
  let connected = true
  let timer: NodeJS.Timeout | undefined
  const draw = (): void => {
    timer = undefined
    const rows = [...states.values()].sort((a, b) => a.lot < b.lot ? -1 : 1)
    const lots = rows.length > 0 || only.length === 0 ? lotTable(rows) : `no lot named ${only.join(', ')} has spoken`
    logUpdate(`${lots}\n\n${footer(brokerOf(client), connected, services)}`)
  }
  const redraw = (): void => { if (live) timer ??= setTimeout(draw, REDRAW_MS) }
  client.on('message', (topic, payload) => {
    const text = payload.toString()
    const service = STATUS.exec(topic)
    if (service) services.set(`${service[1]} (${service[2]})`, text)
    else if (!takeState(topic, text, states, live ? null : options)) return
    redraw()
  })
  client.on('close', () => {
    // Ctrl-C: that the connection ends is what was asked for.
    if (client.disconnecting) return
    connected = false
    if (!live) process.stderr.write(`connection to ${brokerOf(client)} lost; connecting again\n`)
    redraw()
  })
  client.on('connect', () => {
    connected = true
    redraw()
  })
  const topics = only.length > 0 ? only.map(lot => `lots/${lot}/state`) : ['lots/+/state']
  await client.subscribeAsync([...topics, 'services/+/+/status'], { qos: 1 })
  redraw()
  await signalled
  clearTimeout(timer)
  if (live) logUpdate.done()
  await endMqtt(client)
}

/** Listeners that stay: log-update's own would end the process at the first signal without them. */
async function untilSignal (): Promise<void> {
  await new Promise<void>(resolve => {
    process.on('SIGINT', () => resolve())
    process.on('SIGTERM', () => resolve())
  })
}

/** Takes one `state`; an empty one says that the lot is gone. Returns whether anything changed. */
function takeState (topic: string, text: string, states: Map<string, LotState>, lines: ClientOptions | null): boolean {
  const lot = lotOfTopic(topic, 'state')
  if (lot === null) return false
  if (text === '') {
    states.delete(lot)
    if (lines) process.stdout.write(lines.json ? `${JSON.stringify({ lot, removed: true })}\n` : `${lot} removed\n`)
    return true
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    value = undefined
  }
  const state = LotState.safeParse(value)
  if (!state.success) {
    process.stderr.write(`${topic} is not a lot's state: ${text.slice(0, 80)}\n`)
    return false
  }
  states.set(lot, state.data)
  if (lines) process.stdout.write(lines.json ? `${JSON.stringify(state.data)}\n` : `${state.data.at} ${lot} free ${state.data.free} occupied ${state.data.occupied} held ${state.data.held} ${state.data.quality}\n`)
  return true
}

function footer (url: string, connected: boolean, services: ReadonlyMap<string, string>): string {
  const said = [...services].map(([service, status]) => `${service} ${status}`).sort().join(', ')
  return `${connected ? url : `${url}: connection lost, connecting again; what is shown may be old`}${said ? ` · ${said}` : ' · no service has spoken'} · Ctrl-C ends`
}
