// Who may log in, as the users file says now: read at the start, and again whenever the file changes. A wrong file stops
// the start; later it is told once and changes nothing, because a typing error must not lock everybody out.
import { watch, type FSWatcher } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import type { ROLES } from '../shared/access.js'
import type { Clock, Timer } from '../shared/clock.js'
import { messageOf } from '../shared/errors.js'
import { every } from '../shared/every.js'
import type { Log } from '../shared/log.js'
import type { Metrics } from '../shared/metrics.js'
import { parseHash, type PasswordHash } from './password.js'
import { readUsersFile, type UserEntry } from './users-file.js'

/** How long the file must be left alone before it is read again, in milliseconds: an editor writes in several steps. */
const SETTLE_MS = 100
/** How often the file is looked at where the system tells nothing of its changes (network drives, links), in milliseconds. */
const LOOK_EVERY_MS = 5_000

/** One user. As long as nothing about a user changes, `find` gives the same object. */
export interface User {
  readonly name: string
  readonly role: (typeof ROLES)[number]
  readonly lots: readonly string[]
  /** Null: only a certificate. */
  readonly password: PasswordHash | null
  /** Common name of the client certificate that is this user. */
  readonly certificate: string
}

/** Names of users who are not who they were: their connections must end. */
export interface UsersChange {
  /** Not in the file any more. */
  readonly removed: readonly string[]
  /** With another role, other lots, another password or another certificate. */
  readonly changed: readonly string[]
}

export interface Users {
  readonly file: string
  readonly size: number
  find (name: string): User | undefined
  byCertificate (commonName: string): User | undefined
  /** Calls `listener` after each reload that changed or removed somebody; `find` gives the new users already. Returns how to stop that. */
  onChange (listener: (change: UsersChange) => void): () => void
  /** Reads the file now. False when it is wrong, which is logged once: then the users stay as they were. */
  reload (): Promise<boolean>
  /** Looks after the file no longer. */
  close (): Promise<void>
}

export interface UsersParts {
  readonly file: string
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Pick<Metrics, 'userReloads'>
}

/** Reads the users file and looks after it. Throws `OperatorError`: `no_users_file`, `unsafe_users_file`, `bad_users_file`. */
export async function openUsers (parts: UsersParts): Promise<Users> {
  const print = await fingerprint(parts.file)
  const users = new UsersOfFile(parts, print, await readUsersFile(parts.file))
  users.watch()
  return users
}

class UsersOfFile implements Users {
  readonly #parts: UsersParts
  readonly #listeners = new Set<(change: UsersChange) => void>()
  #byName = new Map<string, Kept>()
  #byCertificate = new Map<string, User>()
  /** What the file was like when it was last read, so that it is not read for nothing. */
  #print: string
  /** The fault that was told last; null while the file is right. */
  #fault: string | null = null
  #watcher: FSWatcher | null = null
  #settling: Timer | null = null
  #looking: { stop (): Promise<void> } | null = null
  #reading: Promise<boolean> = Promise.resolve(true)
  #closed = false

  constructor (parts: UsersParts, print: string, entries: readonly UserEntry[]) {
    this.#parts = parts
    this.#print = print
    this.#take(entries)
  }

  get file (): string { return this.#parts.file }
  get size (): number { return this.#byName.size }
  find (name: string): User | undefined { return this.#byName.get(name)?.user }
  byCertificate (commonName: string): User | undefined { return this.#byCertificate.get(commonName) }

  onChange (listener: (change: UsersChange) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  watch (): void {
    const { file, clock, log } = this.#parts
    const name = basename(file)
    try {
      // The folder: the file itself is replaced by another at each change.
      this.#watcher = watch(dirname(resolve(file)), { persistent: false }, (_, changed) => { if (changed === name) this.#settle() })
      this.#watcher.on('error', error => this.#unwatchable(error))
    } catch (error) {
      this.#unwatchable(error)
    }
    this.#looking = every(LOOK_EVERY_MS, 'looking at the users file', clock, log, async () => {
      if (await fingerprint(file) !== this.#print) await this.reload()
    })
  }

  async reload (): Promise<boolean> {
    // One after the other: an older reading must not come last.
    return await (this.#reading = this.#reading.then(() => this.#read()))
  }

  async close (): Promise<void> {
    this.#closed = true
    this.#watcher?.close()
    this.#settling?.cancel()
    await this.#looking?.stop()
    await this.#reading
    this.#listeners.clear()
  }

  #unwatchable (error: unknown): void {
    this.#watcher?.close()
    this.#watcher = null
    this.#parts.log.info({ file: this.file, why: messageOf(error) }, `the users file cannot be watched; it is looked at every ${LOOK_EVERY_MS / 1_000} s`)
  }

  #settle (): void {
    this.#settling?.cancel()
    this.#settling = this.#parts.clock.after(SETTLE_MS, () => { void this.reload() })
  }

  async #read (): Promise<boolean> {
    const { file, log, metrics } = this.#parts
    if (this.#closed) return false
    // Before the reading: what changes meanwhile is found by the next look.
    this.#print = await fingerprint(file)
    let entries: UserEntry[]
    try {
      entries = await readUsersFile(file)
    } catch (error) {
      const fault = messageOf(error)
      if (fault !== this.#fault) {
        metrics.userReloads.inc({ outcome: 'refused' })
        log.error({ file, users: this.size }, `the users stay as they were: ${fault}`)
      }
      this.#fault = fault
      return false
    }
    const change = this.#take(entries)
    const wasWrong = this.#fault !== null
    this.#fault = null
    if (change === null && !wasWrong) return true
    metrics.userReloads.inc({ outcome: 'taken' })
    log.info({ file, users: this.size, removed: change?.removed.length ?? 0, changed: change?.changed.length ?? 0, added: change?.added ?? 0 }, 'the users file is read again')
    if (change && change.removed.length + change.changed.length > 0) for (const listener of this.#listeners) listener(change)
    return true
  }

  /** Null when nothing is different. */
  #take (entries: readonly UserEntry[]): (UsersChange & { added: number }) | null {
    const before = this.#byName
    const byName = new Map<string, Kept>()
    const changed: string[] = []
    let added = 0
    for (const entry of entries) {
      const kept = keptOf(entry)
      const old = before.get(entry.name)
      byName.set(entry.name, old?.text === kept.text ? old : kept)
      if (old === undefined) added++
      else if (old.text !== kept.text) changed.push(entry.name)
    }
    const removed = [...before.keys()].filter(name => !byName.has(name))
    this.#byName = byName
    this.#byCertificate = new Map([...byName.values()].map(({ user }) => [user.certificate, user]))
    return removed.length + changed.length + added === 0 ? null : { removed, changed, added }
  }
}

interface Kept {
  readonly user: User
  /** Everything that counts about the user, to be compared. */
  readonly text: string
}

function keptOf ({ name, role, lots = [], password, certificate = name }: UserEntry): Kept {
  const user: User = { name, role, lots, password: password === undefined ? null : parseHash(password), certificate }
  return { user, text: JSON.stringify([role, lots, password, certificate]) }
}

/** Changes when the file was replaced or written to. */
async function fingerprint (file: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true })
    return `${ino} ${size} ${mtimeNs} ${ctimeNs}`
  } catch (error) {
    return messageOf(error)
  }
}
