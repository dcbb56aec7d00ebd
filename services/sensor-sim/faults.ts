// The faults of a real way from sensor to broker, at a chosen rate and the same for the same seed: messages sent again,
// lost, overtaken, and sensors that restart. Pure. Without loss the faulty stream carries the same cars as the clean
// one: a message is delayed by at most 20 of its sensor and never beyond a restart of it.
import { numbered, sensorKey, type Numbering, type Reading, type SensorMessage } from './messages.js'
import { createRandom } from '../../shared/random.js'

export interface FaultOptions extends Numbering {
  readonly seed: number
  /** Share of the messages that are sent a second time, 0 to 1. */
  readonly duplicate: number
  /** Share of the messages that are never sent, 0 to 1. */
  readonly lose: number
  /** Share of the messages that are overtaken by later ones of the same sensor, 0 to 1. */
  readonly reorder: number
}

/** What was done so far. */
export interface FaultCounts {
  duplicated: number
  /** Of the duplicated: those meant to come so late that the ledger can no longer tell (`too_old`); the end of the run may cut it short. */
  duplicatedFar: number
  lost: number
  reordered: number
  restarts: number
}

/** Messages of the same sensor that overtake a delayed one, or lie between a message and its near duplicate. */
const NEAR = { least: 1, most: 20 }
/** Beyond the 64 messages that the ledger can tell apart. */
const FAR = { least: 65, most: 200 }
const FAR_SHARE = 0.1

interface Held { readonly message: SensorMessage, readonly copy: boolean, readonly until: number }
interface SensorLine { passed: number, epoch: number, held: Held[] }

/** Numbers the readings and yields the messages in the order in which they are to be sent. `counts` grows meanwhile. */
export function withFaults (readings: Iterable<Reading>, options: FaultOptions): { readonly messages: Generator<SensorMessage>, readonly counts: Readonly<FaultCounts> } {
  const counts: FaultCounts = { duplicated: 0, duplicatedFar: 0, lost: 0, reordered: 0, restarts: 0 }
  return { messages: disturbed(numbered(readings, options, () => { counts.restarts++ }), options, counts), counts }
}

function* disturbed (messages: Iterable<SensorMessage>, { seed, duplicate, lose, reorder }: FaultOptions, counts: FaultCounts): Generator<SensorMessage> {
  const random = {
    duplicate: createRandom(seed, 'duplicate'), lose: createRandom(seed, 'lose'), reorder: createRandom(seed, 'reorder'), distance: createRandom(seed, 'distance')
  }
  const lines = new Map<string, SensorLine>()
  for (const message of messages) {
    const key = sensorKey(message)
    let line = lines.get(key)
    if (!line) lines.set(key, line = { passed: 0, epoch: message.epoch, held: [] })
    // What is held of the epoch before goes first: after the restart it would be too old, and the restart would lose cars.
    if (message.epoch !== line.epoch) {
      yield* release(line, held => !held.copy)
      line.epoch = message.epoch
    }
    const now = ++line.passed
    // One draw of each for every message, so that the rate of one fault does not change which messages another hits.
    const isLost = random.lose.next() < lose
    const isDelayed = random.reorder.next() < reorder
    const isDoubled = random.duplicate.next() < duplicate
    if (isLost) {
      counts.lost++
    } else {
      let sentAt = now
      if (isDelayed) {
        counts.reordered++
        sentAt += random.distance.int(NEAR.least, NEAR.most)
        line.held.push({ message, copy: false, until: sentAt })
      } else {
        yield message
      }
      if (isDoubled) {
        const isFar = random.distance.next() < FAR_SHARE
        const distance = isFar ? FAR : NEAR
        counts.duplicated++
        if (isFar) counts.duplicatedFar++
        line.held.push({ message, copy: true, until: sentAt + random.distance.int(distance.least, distance.most) })
      }
    }
    if (line.held.length > 0) yield* release(line, held => held.until <= now)
  }
  for (const line of lines.values()) yield* release(line, () => true)
}

/** Lets go what `isDue`, the earliest first, and an original always before its copy. */
function* release (line: SensorLine, isDue: (held: Held) => boolean): Generator<SensorMessage> {
  const due = line.held.filter(isDue)
  if (due.length === 0) return
  line.held = line.held.filter(held => !isDue(held))
  due.sort((a, b) => a.until - b.until)
  for (const { message } of due) yield message
}
