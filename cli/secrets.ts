// The secrets of the reservations that this user made, in the user's config folder, readable by the user alone: one file
// a reservation, so that commands at the same time do not lose each other's.
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import envPaths from 'env-paths'
import { z } from 'zod'
import { messageOf } from '../shared/errors.js'
import { LIVE_STATUSES, type ReservationStatus } from '../shared/reservation.js'

const Kept = z.object({
  reservation: z.string(), lot: z.string(), plate: z.string(), secret: z.string(), until: z.string(),
  /** As this user last heard of it; absent in files of older versions. */
  from: z.string().optional(), status: z.string().optional()
})
export type Kept = z.infer<typeof Kept>

/** How long a secret is kept after the end of its reservation, in milliseconds: arrive and depart may need it. */
const KEEP_MS = 30 * 24 * 3_600_000

const folder = join(envPaths('parkmq', { suffix: '' }).config, 'secrets')

/** Throws when secrets cannot be kept: to be asked before a place is held. */
export function checkSecretsFolder (): void {
  const probe = join(folder, `.probe-${process.pid}`)
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    writeFileSync(probe, '', { mode: 0o600 })
    rmSync(probe)
  } catch (error) {
    throw new Error(`cannot keep secrets in ${folder}: ${messageOf(error)}; make it writable, or set XDG_CONFIG_HOME`, { cause: error })
  }
}

/** Keeps the secret of a reservation that was just made, and forgets those that are long over. */
export function keepSecret (made: Kept): void {
  writeFileSync(join(folder, `${made.reservation}.json`), `${JSON.stringify(Kept.parse(made))}\n`, { mode: 0o600 })
  for (const kept of keptReservations()) if (Date.parse(kept.until) + KEEP_MS < Date.now()) rmSync(join(folder, `${kept.reservation}.json`), { force: true })
}

/** A kept reservation has changed: its secret is found by its new lot and plate, and kept as long as it needs. */
export function keepChange (changed: Omit<Kept, 'secret'>): void {
  const kept = keptReservations().find(({ reservation }) => reservation === changed.reservation)
  if (kept === undefined) return
  const file = join(folder, `${kept.reservation}.json`)
  // Whole or not at all: a secret is not made twice.
  writeFileSync(`${file}.${process.pid}`, `${JSON.stringify(Kept.parse({ ...kept, ...changed }))}\n`, { mode: 0o600 })
  renameSync(`${file}.${process.pid}`, file)
}

/** The kept secret of a reservation; or of the one of this plate in this lot that is most likely meant. */
export function secretOf (which: { reservation: string } | { lot: string, plate: string }, nowMs = Date.now()): string | undefined {
  const fits = (one: Kept): boolean => 'reservation' in which
    ? one.reservation === which.reservation
    : one.lot === which.lot && one.plate === which.plate
  return inOrder(keptReservations().filter(fits), nowMs)[0]?.secret
}

/** Those that may still be used first, by their begin; then those that are over, the newest first. */
export function inOrder (kept: readonly Kept[], nowMs: number): Kept[] {
  return kept.toSorted((a, b) => {
    const [aLive, bLive] = [isLive(a, nowMs), isLive(b, nowMs)]
    if (aLive !== bLive) return aLive ? -1 : 1
    return aLive ? beginOf(a) - beginOf(b) : Date.parse(b.until) - Date.parse(a.until)
  })
}

/** Everything that is kept. */
export function keptReservations (): Kept[] {
  let names: string[]
  try {
    names = readdirSync(folder).filter(name => /^R-.*\.json$/.test(name))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw new Error(`cannot read the secrets of your reservations in ${folder}: ${messageOf(error)}`, { cause: error })
  }
  return names.flatMap(name => {
    // One that another command is just writing, or that is damaged, is as good as none: --secret still works.
    try {
      return Kept.parse(JSON.parse(readFileSync(join(folder, name), 'utf8')))
    } catch {
      return []
    }
  })
}

/** As far as this user knows; time and sensors may have ended or prolonged it since. */
function isLive ({ status, until }: Kept, nowMs: number): boolean {
  if (status !== undefined && !LIVE_STATUSES.includes(status as ReservationStatus)) return false
  const isIn = status === 'arriving' || status === 'arrived' || status === 'overstayed'
  return isIn || Date.parse(until) > nowMs
}

function beginOf ({ from, until }: Kept): number {
  return Date.parse(from ?? until)
}
