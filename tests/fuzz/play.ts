// Plays one life against a broker and says what was wrong with how it went. A connection may end for a reason that the
// judge has found, for one that the standard leaves to the server, or because the client went: for no other.
import { MAY_REFUSE_AUTHENTICATION } from './client-packets.js'
import { Client } from './client.js'
import type { Before } from './conversation.js'
import type { Announced } from './judge.js'
import { ownId, randomOf, SHORTEST_EXPIRY_SECONDS, type Life, type Round, type Step } from './life.js'
import type { Ports } from './peer.js'
import { plainConnect } from './packets.js'
import { numberOf, textOf } from './properties.js'

const TAKEN_OVER = 0x8e
const CLIENT_ID_INVALID = 0x85
/** Longer client ids may be refused. */
const LONG_CLIENT_ID = 100
const TOO_LARGE = 0x95
/** To a client that takes no more than this, a CONNACK or SUBACK may be too much to say. */
const SMALL_BYTES = 100
const SMALLEST_CONNACK_BYTES = 5

/** A case that went wrong: everything to see it and to run it again. */
export class CaseFailure extends Error {
  readonly life: Life
  /** As in `Played`: a session that is left by a failure is no leak. */
  readonly sessionsLeft: readonly string[]
  constructor (life: Life, words: string, record: string, sessionsLeft: readonly string[]) {
    super(`seed ${life.seed} case ${life.number} (MQTT version ${life.version}, ${life.transport}, acknowledges ${life.habit}): ${words}\n  ${record}`)
    this.life = life
    this.sessionsLeft = sessionsLeft
  }
}

export interface Played {
  /** The client ids whose sessions may outlive their connections. */
  readonly sessionsLeft: readonly string[]
  readonly violated: boolean
  /** A broken rule had no words but a reset. */
  readonly unheard: boolean
  readonly letIn: boolean
}

/** Throws `CaseFailure`. */
export async function play (life: Life, ports: Ports, announced: Announced): Promise<Played> {
  let before: Before | null = null
  const left = new Set<string>()
  let violated = false
  let unheard = false
  let letIn = false
  const random = randomOf(life.seed, -2 - life.number)
  const records: string[] = []
  for (const round of life.rounds) {
    const client = await Client.open({ ports, announced, transport: life.transport, habit: life.habit, random, before })
    try {
      await live(client, life, round)
      const opinion = client.judge.connect === null || unsupported(client) ? null : client.secondOpinion()
      if (opinion !== null) throw new Error(opinion)
    } catch (error) {
      const { violation } = client.judge
      const words = error instanceof Error ? error.message : String(error)
      noteSession(client, left)
      throw new CaseFailure(life, violation === null || words.includes('expected') ? words : `${words} (the client broke a rule: ${violation.words.join(', ')})`, [...records, client.record].join('\n  '), [...left])
    } finally {
      client.destroy()
    }
    records.push(client.record)
    unheard ||= client.unheard
    violated ||= client.judge.violation !== null
    letIn ||= client.isIn
    noteSession(client, left)
    before = whatIsLeft(client, life)
  }
  return { sessionsLeft: [...left], violated, unheard, letIn }
}

/** What the next connection of the same client must find. */
function whatIsLeft ({ judge, conversation, isIn }: Client, life: Life): Before {
  const { connect } = judge
  // Whoever was let in with an id of its own is told of this session next time, and of no other.
  const refused = conversation.disconnect !== null && judge.violation === null
  const own = isIn && !refused && connect !== null && connect.version === life.version && connect.clientId === ownId(life.number)
  const { clientId } = connect ?? { clientId: '' }
  if (!own) return { clientId, conversation, kept: null }
  if (connect.version < 5) return { clientId, conversation, kept: !connect.clean }
  const { sessionExpirySeconds } = judge
  return { clientId, conversation, kept: sessionExpirySeconds === 0 ? false : sessionExpirySeconds >= SHORTEST_EXPIRY_SECONDS ? true : null }
}

async function live (client: Client, life: Life, round: Round): Promise<void> {
  const { judge, conversation } = client
  await take(client, round.connect)
  if (judge.connected && !round.hasty && judge.violation === null) await client.until(() => conversation.connack !== null || client.ended, () => 'CONNACK')
  for (const step of round.steps) {
    if (client.ended || client.fault !== null) break
    await take(client, step)
    client.flushAcks()
    if (step.then === 'settle') await client.settle()
    else if (step.then === 'stop reading') client.pause()
    else if (step.then === 'read again') client.resume()
  }
  client.resume()
  if (judge.violation === null && !judge.over && judge.connected && !client.forbiddenFrame) {
    await client.until(() => conversation.connack !== null || client.ended, () => 'CONNACK')
    await client.settle()
    if (life.habit === 'at once' && conversation.maximumPacketBytes === Infinity) {
      await client.until(() => conversation.owed === 0 || client.ended || !client.maySay, () => `${conversation.owed} messages of an earlier connection`)
    }
  }
  await leave(client, life, round)
}

async function take (client: Client, step: Step): Promise<void> {
  let from = 0
  for (const cut of [...step.cuts, step.bytes.length]) {
    if (cut > from || step.bytes.length === 0) client.say(step.bytes.subarray(from, cut), step.framing)
    from = Math.max(from, cut)
    if (step.cuts.length > 0) await new Promise(resolve => setImmediate(resolve))
  }
}

async function leave (client: Client, life: Life, round: Round): Promise<void> {
  const { judge, conversation } = client
  const gone = async (what: string): Promise<void> => await client.until(() => client.ended, () => `the end of the connection after ${what}`)
  if (client.forbiddenFrame) return await gone('a text frame')
  if (round.end === 'disconnect' && client.maySay && client.isIn) client.say(round.goodbye)
  if (judge.violation !== null) {
    await gone(judge.violation.words.join(', '))
    return checkWords(client, life)
  }
  if (judge.over) {
    await gone('DISCONNECT')
    if (conversation.disconnect && !excused(client, life)) throw new Error(`the broker said DISCONNECT ${hex(conversation.disconnect.reason)} to a client that had said DISCONNECT`)
    return
  }
  if (client.ended) {
    if (!excused(client, life)) throw new Error(`the broker ended a connection without a reason: ${lastWords(client)}`)
    return
  }
  if (round.end === 'reset') return client.reset()
  client.end()
  await gone('its client had ended it')
}

/** A client that broke the rules was told so, as its version can be told. */
function checkWords (client: Client, life: Life): void {
  const { judge, conversation } = client
  const { connack, disconnect } = conversation
  const reasons = judge.violation?.reasons ?? new Set()
  // Only 5.0 has words, and before CONNECT nobody knows whose words.
  if (judge.version !== 5 || unsupported(client)) return
  const said = connack === null || connack.reason > 0 ? connack?.reason : disconnect?.reason
  if (said !== undefined && reasons.has(said)) return
  if (excused(client, life)) return
  // A client that goes on talking long after its mistake may lose the words in a reset: counted, and bounded by the run.
  if (client.wasReset && disconnect === null) {
    client.unheard = true
    return
  }
  throw new Error(`${judge.violation?.words.join(', ')}: expected ${[...reasons].map(hex).join(' or ')}, ${lastWords(client)}`)
}

/** Whether the connection may have been ended although the client had broken no rule. */
function excused (client: Client, life: Life): boolean {
  const { judge, conversation: { connack, disconnect, maximumPacketBytes } } = client
  const { connect } = judge
  if (connect === null) return judge.excuses.size > 0
  // What must be said and is larger than the client takes.
  if (maximumPacketBytes < SMALL_BYTES && (connack?.reason === TOO_LARGE || disconnect?.reason === TOO_LARGE)) return true
  if (connack === null) return maximumPacketBytes < SMALLEST_CONNACK_BYTES || (judge.version !== 5 && (life.shared || judge.excuses.size > 0))
  if (connack.reason > 0) {
    if (connect.version < 5) return (connack.reason === 2 && mayRefuseId(connect)) || connack.reason === 3 || judge.excuses.size > 0
    return (connack.reason === CLIENT_ID_INVALID && mayRefuseId(connect)) || MAY_REFUSE_AUTHENTICATION.includes(connack.reason) || judge.excuses.has(connack.reason)
  }
  if (connect.version < 5) return life.shared || judge.excuses.size > 0
  return disconnect !== null && ((life.shared && disconnect.reason === TAKEN_OVER) || judge.excuses.has(disconnect.reason))
}

function mayRefuseId ({ version, clean, clientId }: { version: number, clean: boolean, clientId: string }): boolean {
  return clientId.length > LONG_CLIENT_ID || (version === 3 && (clientId.length === 0 || clientId.length > 23)) || (version < 5 && clientId.length === 0 && !clean)
}

function unsupported ({ judge }: Client): boolean {
  return judge.violation?.reasons.has(0x84) === true
}

function lastWords ({ conversation: { connack, disconnect }, ended, endedWith }: Client): string {
  if (disconnect) return `the broker said DISCONNECT ${hex(disconnect.reason)} ${textOf(disconnect.properties, 0x1f) ?? ''}`
  if (connack && connack.reason > 0) return `the broker said CONNACK ${hex(connack.reason)} ${textOf(connack.properties, 0x1f) ?? ''}`
  return ended ? `it closed without a word of MQTT ${endedWith}` : 'nothing came'
}

function hex (code: number): string {
  return `0x${code.toString(16).padStart(2, '0')}`
}

/** Notes the id under which a session may be kept, if any. */
function noteSession ({ judge, conversation: { connack } }: Client, left: Set<string>): void {
  const { connect } = judge
  if (connect === null || !judge.connected || (connect.version === 5 && judge.askedExpirySeconds === 0) || (connect.version < 5 && connect.clean)) return
  const id = connect.clientId === '' ? connack && textOf(connack.properties, 0x12) : connect.clientId
  if (id) left.add(id)
}

/** Ends the session of a client id, whoever has it: connects with Clean Start and goes. */
export async function endSession (clientId: string, ports: Ports, announced: Announced): Promise<void> {
  const client = await Client.open({ ports, announced, transport: 'tcp', habit: 'never', random: randomOf(0, 0) })
  try {
    client.say(plainConnect(5, clientId))
    await client.until(() => client.isIn || client.ended, () => `CONNACK for ${clientId}, whose session is to end`)
    client.say(Buffer.from([0xe0, 0]))
    client.end()
    await client.until(() => client.ended, () => `the end of the session of ${clientId}`)
  } finally {
    client.destroy()
  }
}

/** What CONNACK says that a client must keep to. */
export function announcedIn (client: Client): Announced {
  const properties = client.conversation.connack?.properties ?? new Map<number, never>()
  return {
    receiveMaximum: numberOf(properties, 0x21) ?? 65_535,
    topicAliasMaximum: numberOf(properties, 0x22) ?? 0,
    maximumPacketBytes: numberOf(properties, 0x27) ?? 268_435_460,
    sharedSubscriptions: numberOf(properties, 0x2a) !== 0
  }
}
