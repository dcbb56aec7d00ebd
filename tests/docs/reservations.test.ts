// docs/reservations.md is run as a reader would run it: every request in its order, with the time that the page lets pass,
// and every reply and message must be what the page says.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { expect, test } from 'vitest'
import { REQUESTS } from '../../shared/schemas.js'
import { connectMqtt, endMqtt } from '../../shared/mqtt-client.js'
import { ManualClock } from '../support/clock.js'
import { afterThisTest } from '../support/broker.js'
import { startTestApp } from '../support/app.js'

const PAGE = readFileSync(fileURLToPath(new URL('../../docs/reservations.md', import.meta.url)), 'utf8')
const BEGIN_MS = Date.parse('2026-12-01T09:00+01:00')
const ANSWERED_WITHIN_MS = 5_000

interface Block { readonly kind: string, readonly argument: string, readonly text: string, readonly line: number }

/** The fenced blocks that have a second word: what is done, and what comes of it. */
function blocksOf (page: string): Block[] {
  return [...page.matchAll(/^```\w+ (\w+) ?(\S*)\n([^]*?)\n```$/gm)].map(({ 1: kind = '', 2: argument = '', 3: text = '', index }) => (
    { kind, argument, text, line: page.slice(0, index).split('\n').length }))
}

/** `5 h 50 min` in milliseconds. */
function durationMs (text: string): number {
  const units: Record<string, number> = { s: 1_000, min: 60_000, h: 3_600_000, days: 86_400_000 }
  return [...text.matchAll(/(\d+) (s|min|h|days)\b/g)].reduce((sum, [, n, unit]) => sum + Number(n) * (units[unit ?? ''] ?? NaN), 0)
}

/**
 * Compares what came with what the page says: `...` for anything, `<name>` for a value that is remembered and put in
 * where the name stands again. Keys that the page does not name are let pass only beside one that it leaves open.
 */
function compare (said: unknown, came: unknown, known: Map<string, string>, where: string): void {
  if (said === '...') {
    expect(came, where).toBeDefined()
  } else if (typeof said === 'string') {
    const name = /^<([^>]+)>$/.exec(said)?.[1]
    if (name !== undefined && !known.has(name)) known.set(name, String(came))
    expect(came, where).toBe(filled(said, known))
  } else if (Array.isArray(said)) {
    expect(Array.isArray(came) && came.length, `${where}: ${JSON.stringify(came)}`).toBe(said.length)
    for (const [index, one] of said.entries()) compare(one, (came as unknown[])[index], known, `${where}[${index}]`)
  } else if (typeof said === 'object' && said !== null) {
    for (const [key, value] of Object.entries(said)) compare(value, (came as Record<string, unknown> | undefined)?.[key], known, `${where}.${key}`)
  } else {
    expect(came, where).toBe(said)
  }
}

function filled (text: string, known: ReadonlyMap<string, string>): string {
  return text.replace(/<([a-z ]+)>/g, (whole, name: string) => known.get(name) ?? whole)
}

test('every example of docs/reservations.md does what the page says', { timeout: 60_000 }, async () => {
  const blocks = blocksOf(PAGE)
  const settings = parse(blocks.find(({ kind }) => kind === 'settings')?.text ?? '') as Record<string, unknown>
  const clock = new ManualClock(BEGIN_MS)
  const { url } = await startTestApp({ clock, settings })
  const client = await connectMqtt(url)
  afterThisTest(async () => await endMqtt(client))
  const replies: { text: string, correlation: string }[] = []
  let look = (): void => {}
  client.on('message', (_, payload, packet) => {
    replies.push({ text: payload.toString(), correlation: packet.properties?.correlationData?.toString() ?? '' })
    look()
  })
  await client.subscribeAsync('replies/reader/#', { qos: 1 })
  const next = async (fits: (correlation: string) => boolean, where: string): Promise<{ text: string, correlation: string }> => await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${where}: nothing came; there is ${JSON.stringify(replies)}`)), ANSWERED_WITHIN_MS)
    look = () => {
      const index = replies.findIndex(({ correlation }) => fits(correlation))
      const [found] = index < 0 ? [] : replies.splice(index, 1)
      if (!found) return
      clearTimeout(timer)
      look = () => {}
      resolve(found)
    }
    look()
  })
  const known = new Map<string, string>()
  const methods = new Map<string, string>()
  let asked = 0
  for (const { kind, argument, text, line } of blocks) {
    const where = `docs/reservations.md, line ${line}`
    switch (kind) {
      case 'request': {
        const correlationData = `c${++asked} `
        methods.set(correlationData, argument)
        await client.publishAsync(`requests/${argument}`, filled(text, known), { qos: 1, properties: { responseTopic: 'replies/reader/1', correlationData: Buffer.from(correlationData) } })
        break
      }
      case 'reply': compare(JSON.parse(text), JSON.parse((await next(correlation => correlation === `c${asked} `, where)).text), known, where); break
      // A further one, on the Response Topic of an earlier request and with its Correlation Data.
      case 'message': {
        const message = await next(correlation => methods.has(correlation), where)
        expect(['wait', 'monitor'], where).toContain(methods.get(message.correlation))
        compare(JSON.parse(text), JSON.parse(message.text), known, where)
        break
      }
      case 'sensor': await client.publishAsync(`lots/${argument}/sensor`, text, { qos: 1 }); break
      case 'time': clock.advance(durationMs(text)); break
      case 'settings': break
      default: throw new Error(`${where}: a block of the kind ${kind} is not known`)
    }
  }
  expect(replies, 'messages that the page does not tell of').toEqual([])
  const shown = new Set(methods.values())
  const others = /^(lot\..*|recount|audit|ping|info|stats|lots)$/
  expect(Object.keys(REQUESTS).filter(method => !others.test(method) && !shown.has(method)), 'methods without an example').toEqual([])
})
