// The secrets of the reservations that this user made, in the user's config folder, readable by the user alone: one file
// a reservation, so that commands at the same time do not lose each other's.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import envPaths from 'env-paths'
import { z } from 'zod'
import { messageOf } from '../shared/errors.js'

const Kept = z.object({ reservation: z.string(), lot: z.string(), plate: z.string(), secret: z.string(), until: z.string() })
type Kept = z.infer<typeof Kept>

/** How long a secret is kept after the end of its hold, in milliseconds: arrive and depart may need it. */
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
  writeFileSync(join(folder, `${made.reservation}.json`), `${JSON.stringify(made)}\n`, { mode: 0o600 })
  for (const kept of all()) if (Date.parse(kept.until) + KEEP_MS < Date.now()) rmSync(join(folder, `${kept.reservation}.json`), { force: true })
}

/** The kept secret of a reservation, or of the newest one of this plate in this lot. */
export function secretOf (which: { reservation: string } | { lot: string, plate: string }): string | undefined {
  const fits = (one: Kept): boolean => 'reservation' in which
    ? one.reservation === which.reservation
    : one.lot === which.lot && one.plate === which.plate
  return all().filter(fits).sort((a, b) => a.until < b.until ? -1 : 1).at(-1)?.secret
}

function all (): Kept[] {
  let names: string[]
  try {
    names = readdirSync(folder).filter(name => name.startsWith('R-'))
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
