// Exactly once: which messages of a sensor have had their effect, by (epoch, seq). The highest seq and a bitmap of the
// 64 before it tell a duplicate from a late message and a late message from one that is missing. Pure.
//
// The messages of an epoch are numbered from 1 (0 is accepted and never missed). A higher epoch is a restart of the
// sensor; a lower one is a message from before it, which nothing can place any more.

/** How many messages before the highest can still be told apart. */
export const WINDOW = 64

export interface SensorSeen {
  readonly epoch: number
  /** The highest seq seen in this epoch. */
  readonly high: number
  /** Bit i of 0..31: whether message `high - 1 - i` was seen; unsigned 32 bits. */
  readonly seenLow: number
  /** The same for i of 32..63. */
  readonly seenHigh: number
  /** Messages of 1..high never seen, in the window or lost before it. */
  readonly missing: number
  /** How many of the missing ones were told of already, or made meaningless by an absolute count. */
  readonly reported: number
  /** When the missing messages in the window become a gap; null when there is nothing new to tell. */
  readonly gapDueAtMs: number | null
}

export type Admission =
  /** Has its effect now. `lost` messages fell out of the window just now and can never come. */
  | { readonly verdict: 'next' | 'late', readonly seen: SensorSeen, readonly lost: number, readonly restarted: boolean }
  /** Had its effect before. */
  | { readonly verdict: 'duplicate' }
  /** Of an older epoch, or too far back to know. */
  | { readonly verdict: 'too_old' }

/** What the message (epoch, seq) is to a sensor of which `seen` is known; null for a sensor never heard. */
export function admit (seen: SensorSeen | null, epoch: number, seq: number, nowMs: number, gapGraceMs: number): Admission {
  if (seen === null || epoch > seen.epoch) return first(seen, epoch, seq, nowMs, gapGraceMs)
  if (epoch < seen.epoch) return { verdict: 'too_old' }
  if (seq > seen.high) return forward(seen, seq, nowMs, gapGraceMs)
  if (seq === seen.high) return { verdict: 'duplicate' }
  const position = seen.high - 1 - seq
  if (position >= WINDOW) return { verdict: 'too_old' }
  if (bit(seen, position)) return { verdict: 'duplicate' }
  return { verdict: 'late', seen: withLate(seen, position, seq), lost: 0, restarted: false }
}

/** The missing messages of the window that nobody was told of, as a gap: told of from now on. */
export function tellGap (seen: SensorSeen): { readonly seen: SensorSeen, readonly told: number } {
  return { seen: { ...seen, reported: seen.missing, gapDueAtMs: null }, told: seen.missing - seen.reported }
}

/** After an absolute count by another source: what is missing no longer matters, but a late message still has its effect. */
export function settled (seen: SensorSeen): SensorSeen {
  return seen.missing === seen.reported && seen.gapDueAtMs === null ? seen : { ...seen, reported: seen.missing, gapDueAtMs: null }
}

/** After an absolute count by this sensor at its highest seq: earlier messages are contained in it and have no effect. */
export function superseded (seen: SensorSeen): SensorSeen {
  return { ...seen, seenLow: ALL, seenHigh: ALL, missing: 0, reported: 0, gapDueAtMs: null }
}

const ALL = 0xffffffff

function first (before: SensorSeen | null, epoch: number, seq: number, nowMs: number, gapGraceMs: number): Admission {
  const fresh: SensorSeen = { epoch, high: 0, seenLow: 0, seenHigh: 0, missing: 0, reported: 0, gapDueAtMs: null }
  // Nothing before it was seen, number 0 neither.
  const started = seq === 0 ? fresh : { ...forwarded(fresh, seq, nowMs, gapGraceMs), seenLow: 0, seenHigh: 0 }
  // What the epoch before still missed can never come now: it would be too old.
  const lostBefore = before ? before.missing - before.reported : 0
  const { seen, lost } = telling(started, lostBefore)
  return { verdict: 'next', seen, lost, restarted: before !== null }
}

function forward (seen: SensorSeen, seq: number, nowMs: number, gapGraceMs: number): Admission {
  const told = telling(forwarded(seen, seq, nowMs, gapGraceMs), 0)
  return { verdict: 'next', seen: told.seen, lost: told.lost, restarted: false }
}

function forwarded (seen: SensorSeen, seq: number, nowMs: number, gapGraceMs: number): SensorSeen {
  const step = seq - seen.high
  const { low, high } = shifted(seen.seenLow, seen.seenHigh, step)
  const missing = seen.missing + step - 1
  return {
    epoch: seen.epoch,
    high: seq,
    seenLow: low,
    seenHigh: high,
    missing,
    reported: seen.reported,
    gapDueAtMs: step > 1 && seen.gapDueAtMs === null ? nowMs + gapGraceMs : seen.gapDueAtMs
  }
}

/** Those that have just fallen out of the window are told of at once. */
function telling (seen: SensorSeen, lostBefore: number): { seen: SensorSeen, lost: number } {
  if (seen.missing === 0) return { seen, lost: lostBefore }
  const gone = seen.missing - openInWindow(seen)
  const lost = Math.max(0, gone - seen.reported)
  return { seen: lost > 0 ? { ...seen, reported: gone } : seen, lost: lost + lostBefore }
}

function withLate (seen: SensorSeen, position: number, seq: number): SensorSeen {
  const missing = seq === 0 ? seen.missing : seen.missing - 1
  const reported = Math.min(seen.reported, missing)
  return {
    epoch: seen.epoch,
    high: seen.high,
    seenLow: position < 32 ? (seen.seenLow | (1 << position)) >>> 0 : seen.seenLow,
    seenHigh: position >= 32 ? (seen.seenHigh | (1 << (position - 32))) >>> 0 : seen.seenHigh,
    missing,
    reported,
    gapDueAtMs: missing === reported ? null : seen.gapDueAtMs
  }
}

/** The bitmap after the highest seq went up by `step`: the old highest becomes bit `step - 1`. */
function shifted (low: number, high: number, step: number): { low: number, high: number } {
  if (step > WINDOW) return { low: 0, high: 0 }
  let nextLow = step >= 32 ? 0 : (low << step) >>> 0
  let nextHigh = step === 0 ? high
    : step < 32 ? ((high << step) | (low >>> (32 - step))) >>> 0
      : step < WINDOW ? (low << (step - 32)) >>> 0 : 0
  if (step <= 32) nextLow = (nextLow | (1 << (step - 1))) >>> 0
  else nextHigh = (nextHigh | (1 << (step - 33))) >>> 0
  return { low: nextLow, high: nextHigh }
}

function bit (seen: SensorSeen, position: number): boolean {
  return position < 32 ? (seen.seenLow >>> position & 1) === 1 : (seen.seenHigh >>> (position - 32) & 1) === 1
}

/** Messages from 1 on that the window still waits for. */
function openInWindow (seen: SensorSeen): number {
  const places = Math.min(WINDOW, seen.high - 1)
  const low = mask(Math.min(places, 32))
  const high = mask(Math.max(places - 32, 0))
  return places - ones(seen.seenLow & low) - ones(seen.seenHigh & high)
}

function mask (bits: number): number {
  return bits >= 32 ? ALL : 2 ** bits - 1
}

function ones (word: number): number {
  let n = word - (word >>> 1 & 0x55555555)
  n = (n & 0x33333333) + (n >>> 2 & 0x33333333)
  return Math.imul(n + (n >>> 4) & 0x0f0f0f0f, 0x01010101) >>> 24
}
