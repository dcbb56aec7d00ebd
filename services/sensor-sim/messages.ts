// What a simulated sensor sees, and the numbered message that it becomes. A number is used up also when its message is
// then lost: that is how the other side can tell.
import type { Id } from '../../shared/lot.js'

/** One thing that a gate saw. */
export interface Reading {
  readonly lot: Id
  /** The gate, as a sensor with an identity. */
  readonly sensor: Id
  /** Cars in (+) or out (-). */
  readonly delta: number
  /** When it was seen by the device's clock: milliseconds since 1970 of the simulated time. */
  readonly atMs: number
  /** When it is to be sent: milliseconds since the start of the run. */
  readonly dueMs: number
}

export interface SensorMessage extends Reading {
  readonly epoch: number
  /** Counted from 1 in each epoch. */
  readonly seq: number
}

export interface Numbering {
  /** The epoch that every sensor begins with. */
  readonly epoch: number
  /** A sensor restarts (epoch + 1, seq from 1) after so many messages; 0 is never. */
  readonly restartEvery: number
}

/** Gives each reading its epoch and seq. Tells `onRestart` of every restart. */
export function* numbered (readings: Iterable<Reading>, { epoch, restartEvery }: Numbering, onRestart?: () => void): Generator<SensorMessage> {
  const sensors = new Map<string, { epoch: number, seq: number }>()
  for (const reading of readings) {
    const key = sensorKey(reading)
    let last = sensors.get(key)
    if (!last) sensors.set(key, last = { epoch, seq: 0 })
    if (restartEvery > 0 && last.seq === restartEvery) {
      last.epoch++
      last.seq = 0
      onRestart?.()
    }
    last.seq++
    yield { ...reading, epoch: last.epoch, seq: last.seq }
  }
}

/** Identifies a sensor: the ledger knows each by lot and name. */
export function sensorKey ({ lot, sensor }: Pick<Reading, 'lot' | 'sensor'>): string {
  return `${lot}/${sensor}`
}

/** The payload of a delta on `lots/{lot}/sensor`. */
export function deltaPayload ({ sensor, epoch, seq, delta, atMs }: SensorMessage): string {
  return JSON.stringify({ sensor, epoch, seq, delta, at: new Date(atMs).toISOString() })
}

/** The payload of an absolute count on `lots/{lot}/sensor`. */
export function recountPayload (sensor: Id, epoch: number, seq: number, occupied: number): string {
  return JSON.stringify({ sensor, epoch, seq, occupied })
}

/** The names of this simulator's sensors; another seed has other sensors, so that two runs at once do not collide. */
export function sensorName (seed: number, role: 'gate' | 'replay' | 'attendant', number: number): Id {
  return `sim-${seed}-${role}-${number}` as Id
}
