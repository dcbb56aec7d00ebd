// The secrets of the reservations that this user made, in the user's config folder, readable by the user alone.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import envPaths from 'env-paths'
import { z } from 'zod'
import { messageOf } from '../shared/errors.js'

const Kept = z.array(z.object({ reservation: z.string(), lot: z.string(), plate: z.string(), secret: z.string(), until: z.string() }))
type Kept = z.infer<typeof Kept>

/** Most reservations whose secrets are kept; the oldest go first. */
const MOST = 500

const folder = envPaths('parkmq', { suffix: '' }).config
const file = join(folder, 'secrets.json')

function read (): Kept {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw new Error(`cannot read the secrets of your reservations in ${file}: ${messageOf(error)}`, { cause: error })
  }
  try {
    return Kept.parse(JSON.parse(text))
  } catch (error) {
    throw new Error(`${file} is damaged; move it away to go on, and pass --secret for reservations made before`, { cause: error })
  }
}

/** Keeps the secret of a reservation that was just made. Throws when it cannot be written. */
export function keepSecret (made: Kept[number]): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const kept = [...read().filter(one => one.reservation !== made.reservation), made].slice(-MOST)
  // Written beside and moved, so that a crash leaves the old file or the new one.
  const beside = `${file}.${process.pid}`
  writeFileSync(beside, `${JSON.stringify(kept, null, 2)}\n`, { mode: 0o600 })
  renameSync(beside, file)
}

/** The kept secret of a reservation, or of the newest one of this plate in this lot. */
export function secretOf (which: { reservation: string } | { lot: string, plate: string }): string | undefined {
  const fits = (one: Kept[number]): boolean => 'reservation' in which
    ? one.reservation === which.reservation
    : one.lot === which.lot && one.plate === which.plate
  return read().findLast(fits)?.secret
}
