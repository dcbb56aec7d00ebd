// Invents the life of one client, whole and beforehand, from the seed and the number of a case: how it connects, what it
// says in which pieces, how it acknowledges, how it goes. Only its acknowledgements are made while it lives.
import { CRASHES, Random } from '../support/mqtt-bytes.js'
import type { Version } from './client-packets.js'
import { damaged, packed, uint16, type Draft } from './drafts.js'
import { ackDraft, connectDraft, disconnectDraft, foreignDraft, pingDraft, publishDraft, subscribeDraft, unsubscribeDraft } from './packets.js'
import { PLAIN, type Framing, type Transport } from './peer.js'

/** What is written in one go; `settle` waits for an answer before it goes on. */
export interface Step {
  readonly bytes: Buffer
  /** Where the bytes are cut into writes. */
  readonly cuts: readonly number[]
  readonly framing: Framing
  readonly then: 'go on' | 'settle' | 'stop reading' | 'read again'
}

/** How messages from the broker are acknowledged. */
export type AckHabit = 'at once' | 'late' | 'never' | 'with errors' | 'twice'

export interface Life {
  readonly seed: number
  readonly number: number
  readonly version: Version
  readonly transport: Transport
  /** Others use the same client id at the same time and take the session over. */
  readonly shared: boolean
  readonly habit: AckHabit
  /** Its connections, one after the other, with the same client id. */
  readonly rounds: readonly Round[]
}

export interface Round {
  readonly connect: Step
  /** Goes on before CONNACK has come. */
  readonly hasty: boolean
  readonly steps: readonly Step[]
  readonly end: 'finish' | 'reset' | 'disconnect'
  /** The bytes of DISCONNECT. */
  readonly goodbye: Buffer
}

const SHARED_IDS = ['taken', 'taken-too', '__proto__', 'constructor']
/** How seldom a client says more than Receive Maximum. */
const FLOOD_ONE_IN = 400
/** Long enough that no session ends while its client is between two connections, in seconds. */
export const SHORTEST_EXPIRY_SECONDS = 60

/** The generator of one case: the same for the same seed and number. */
export function randomOf (seed: number, number: number): Random {
  return new Random(Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(number + 1, 0xc2b2ae35))
}

/** The client id of this life alone. Damage to one must not make it that of another, which takes its session over: so they differ in more than one place. */
export function ownId (number: number): string {
  return `case-${number}-${(Math.imul(number, 2_654_435_761) >>> 0).toString(36)}`
}

/** `receiveMaximum` is the broker's: now and then a life goes beyond it. */
export function lifeOf (seed: number, number: number, receiveMaximum: number): Life {
  const random = randomOf(seed, number)
  const version = random.pick([3, 4, 4, 5, 5, 5] as const)
  const transport = random.chance(0.3) ? 'ws' : 'tcp'
  const shared = random.chance(0.15)
  const clientId = shared ? random.pick(SHARED_IDS) : random.chance(0.05) ? '' : ownId(number)
  const comesBack = !shared && clientId !== '' && random.chance(0.25)
  const round = (): Round => {
    const clean = clientId === '' || random.chance(comesBack ? 0.3 : 0.65)
    const draft = connectDraft(random, { version, clientId, clean, sessionExpirySeconds: clientId !== '' && random.chance(comesBack ? 0.8 : 0.3) ? SHORTEST_EXPIRY_SECONDS + random.int(100) : 0 })
    const careful = random.chance(0.5)
    const floods = version === 5 && random.int(FLOOD_ONE_IN) === 0
    return {
      connect: step(random, transport, damagedSometimes(random, draft, careful ? 0 : 0.12), 'go on'),
      steps: floods ? [flood(random, transport, receiveMaximum)] : stepsOf(random, version, transport, careful),
      hasty: random.chance(0.15),
      end: random.pick(['finish', 'reset', 'disconnect', 'disconnect']),
      goodbye: packed(disconnectDraft(random, version))
    }
  }
  return {
    seed, number, version, transport, shared,
    habit: random.pick(['at once', 'at once', 'at once', 'late', 'never', 'with errors', 'twice']),
    rounds: Array.from({ length: comesBack ? 2 + random.int(2) : 1 }, round)
  }
}

function stepsOf (random: Random, version: Version, transport: Transport, careful: boolean): Step[] {
  const steps: Step[] = []
  for (let i = 1 + random.int(random.chance(0.1) ? 30 : 8); i > 0; i--) {
    const pieces = Array.from({ length: random.chance(0.25) ? 2 + random.int(6) : 1 }, () => !careful && random.chance(0.02)
      ? hostile(random)
      : damagedSometimes(random, draftOf(random, version, careful), careful ? 0 : 0.12))
    const then = random.chance(0.3) ? 'settle' : random.chance(0.03) ? random.pick(['stop reading', 'read again'] as const) : 'go on'
    steps.push(step(random, transport, Buffer.concat(pieces), then))
  }
  if (random.chance(0.05)) {
    const last = packed(draftOf(random, version, true))
    steps.push(step(random, transport, last.subarray(0, 1 + random.int(last.length)), 'go on'))
  }
  return steps
}

/** Bytes that have ended a broker before, as they were or changed. */
function hostile (random: Random): Buffer {
  const bytes = Buffer.from(random.pick(CRASHES)[2], 'hex')
  return random.chance(0.5) ? bytes : random.mutated(bytes)
}

/** A careful client says only what it may; what it may not is left to the others. */
function draftOf (random: Random, version: Version, careful: boolean): Draft {
  const id = 1 + random.int(random.chance(0.8) ? 20 : 65_535)
  const kind = random.int(careful ? 18 : 20)
  if (kind < 8) return publishDraft(random, version, id)
  if (kind < 12) return subscribeDraft(random, version, id)
  if (kind < 13) return unsubscribeDraft(random, version, id)
  if (kind < 15) return pingDraft()
  if (kind < 17) return ackDraft(random, version, 6, id)
  if (kind < 18) return ackDraft(random, version, random.pick([4, 5, 6, 7]), id)
  return random.chance(0.4) ? foreignDraft(random) : random.chance(0.3) ? disconnectDraft(random, version) : publishDraft(random, version, random.chance(0.5) ? 0 : id)
}

function damagedSometimes (random: Random, draft: Draft, probability: number): Buffer {
  return random.chance(probability) ? damaged(random, draft) : packed(draft)
}

/** More QoS 2 messages than the broker lets a client leave unreleased. */
function flood (random: Random, transport: Transport, receiveMaximum: number): Step {
  const messages = Array.from({ length: Math.min(receiveMaximum, 5_000) + 1 + random.int(3) }, (_, i) => packed({ first: 0x34, head: [Buffer.from([0, 1, 0x61]), uint16(i + 1)], properties: [], tail: [] }))
  return { ...step(random, transport, Buffer.concat(messages), 'go on'), cuts: [] }
}

function step (random: Random, transport: Transport, bytes: Buffer, then: Step['then']): Step {
  const everywhere = random.chance(0.04) && bytes.length < 200
  const cuts = everywhere
    ? Array.from({ length: bytes.length }, (_, i) => i)
    : Array.from({ length: random.chance(0.2) ? 1 + random.int(3) : 0 }, () => random.int(bytes.length + 1)).sort((a, b) => a - b)
  return { bytes, cuts, then, framing: transport === 'tcp' ? PLAIN : framingOf(random) }
}

function framingOf (random: Random): Framing {
  if (random.chance(0.6)) return PLAIN
  return { pieceBytes: random.pick([1, 2, 7, 125, 126, 1_000]), fragments: random.chance(0.5), pings: random.chance(0.3), text: random.chance(0.02) }
}
