// The users file: YAML that a person can read and change, one entry a user, with hashes instead of passwords. Read
// strictly, written all or not at all. What it says of a fault names the line and the user, and never a hash.
import { existsSync } from 'node:fs'
import { mkdir, open, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { isSeq, LineCounter, parseDocument, type Document } from 'yaml'
import { z } from 'zod'
import { ROLES } from '../shared/access.js'
import type { Config } from '../shared/config.js'
import { messageOf, OperatorError } from '../shared/errors.js'
import { firstIssue, Id, Timestamp } from '../shared/schemas.js'
import { parseHash } from './password.js'

/** Users of one file: reading it again holds the broker up for about 0.05 ms a user. */
export const MAX_USERS = 10_000
/** Lots that one device may speak for by name; `*` is all. */
const MAX_LOTS = 1_000

const words = (words: string) => ({ error: words })

export const UserEntry = z.strictObject({
  name: Id,
  role: z.enum(ROLES),
  /** Lots that a device speaks for; `*` for all. */
  lots: z.array(z.union([z.literal('*'), Id], words('must be the id of a lot, or "*" for all'))).max(MAX_LOTS).optional(),
  /** None: the user has only a certificate. */
  password: z.string().refine(phc => parseHash(phc) !== null, words('must be a hash made by `parkmq user passwd`, never the password itself')).optional(),
  /** Common name of the client certificate; the user's name when absent. */
  certificate: z.string().min(1).max(256).regex(/^\P{Cc}+$/u, words('must have no control characters')).optional(),
  addedAt: Timestamp.optional()
})
export type UserEntry = z.infer<typeof UserEntry>

const UsersFile = z.strictObject({ users: z.array(UserEntry).max(MAX_USERS) }).superRefine(({ users }, context) => {
  const names = new Set<string>()
  const certificates = new Map<string, string>()
  for (const [index, { name, role, lots, certificate = name }] of users.entries()) {
    const issue = (key: string, message: string): void => context.addIssue({ code: 'custom', path: ['users', index, key], message })
    if (names.has(name)) issue('name', `${name} is there twice; remove one`)
    const other = certificates.get(certificate)
    if (other !== undefined && other !== name) issue(certificate === name ? 'name' : 'certificate', `a certificate with the common name ${certificate} would be ${other} as well; give one of them another \`certificate\``)
    if (lots !== undefined && role !== 'device') issue('lots', `lots are for devices, and this user is ${role}; remove them or make it a device`)
    names.add(name)
    certificates.set(certificate, name)
  }
})

/** Longest wait for another `parkmq user` to finish, and how often it is looked for, in milliseconds. */
const LOCK_WITHIN_MS = 5_000
const LOCK_EVERY_MS = 25

/** What stands before the first user of a new file. */
const HEADING = ' Who may connect to parkmq. Change it with `parkmq user add | remove | passwd`, or by hand: a running parkmq takes a\n change within seconds. Passwords are hashes here; nobody but parkmq and its operators should read them (mode 600).'

/** The users file of a start: what the settings name, else `users.yaml` in the data folder; null when there is none. */
export function usersFileOf ({ users, data, broker }: Pick<Config, 'users' | 'data' | 'broker'>): string | null {
  if (broker !== undefined) {
    if (users === undefined) return null
    throw new OperatorError('bad_config', `users (${users}) and broker cannot both be set: with another broker than its own parkmq lets nobody in; keep the users there`)
  }
  if (users !== undefined) return users
  const usual = defaultUsersFile(data)
  return existsSync(usual) ? usual : null
}

/** Where the users are kept when no setting says otherwise. */
export function defaultUsersFile (data: string): string {
  return join(data, 'users.yaml')
}

/**
 * Reads a users file. Throws `OperatorError`: `no_users_file`, `unsafe_users_file` (others could read or change it),
 * `bad_users_file`.
 */
export async function readUsersFile (path: string): Promise<UserEntry[]> {
  return (await readDocument(path, path)).users
}

/** Changes the list of users: gives the new one, or throws to leave the file as it is. Entries it keeps keep their comments. */
export type Edit = (users: readonly UserEntry[]) => readonly UserEntry[]

/**
 * Changes a users file, one change at a time over all processes; a file that is not there is made with `make`. The new
 * file is on disk before it takes the old one's place, has its owner, and is nobody's else to read.
 * Throws what `readUsersFile` throws, what `edit` throws, and `OperatorError`: `users_file_in_use`, `cannot_write`.
 */
export async function editUsersFile (path: string, edit: Edit, { make = false, lockWithinMs = LOCK_WITHIN_MS }: { make?: boolean, lockWithinMs?: number } = {}): Promise<{ made: boolean }> {
  const there = existsSync(path)
  if (!there && !make) throw noFile(path)
  // `user add` may come before the first start, which makes the data folder.
  if (!there) await mkdir(dirname(path), { recursive: true, mode: 0o700 }).catch((error: unknown) => { throw cannotWrite(path, error) })
  // A link stays a link.
  const target = there ? await realpath(path) : path
  const lock = `${target}.lock`
  const file = await openLock(lock, path, lockWithinMs)
  try {
    // The lock is the new file itself, so whoever holds it writes alone, and renaming it ends both at once.
    const isNew = !existsSync(target)
    const before = isNew ? { document: emptyDocument(), users: [] } : await readDocument(target, path)
    change(before.document, before.users, edit(before.users))
    const text = before.document.toString({ lineWidth: 0 })
    parseUsers(text, path)
    await file.writeFile(text)
    await takePlaceOf(isNew ? null : target, dirname(target), file)
    await file.sync()
    await file.close()
    await rename(lock, target)
    await syncFolder(dirname(target))
    return { made: isNew }
  } catch (error) {
    await file.close().catch(() => {})
    await rm(lock, { force: true })
    if (error instanceof OperatorError || !isSystemError(error)) throw error
    throw cannotWrite(path, error)
  }
}

interface Read {
  readonly document: Document
  readonly users: UserEntry[]
}

/** `path` is how the person named it. */
async function readDocument (target: string, path: string): Promise<Read> {
  let text: string
  try {
    const file = await open(target, 'r')
    try {
      // Of the open file, so that it cannot be another one when it is read.
      checkMode(path, (await file.stat()).mode)
      text = await file.readFile('utf8')
    } finally {
      await file.close()
    }
  } catch (error) {
    if (error instanceof OperatorError) throw error
    if (isSystemError(error) && error.code === 'ENOENT') throw noFile(path, error)
    throw new OperatorError('bad_users_file', `cannot read the users file ${path}: ${messageOf(error)}`, { cause: error })
  }
  return parseUsers(text, path)
}

/** Parses and checks the text of a users file; `path` is for the words of errors. Throws `OperatorError` (`bad_users_file`). */
export function parseUsers (text: string, path: string): Read {
  const lines = new LineCounter()
  // `prettyErrors` would quote the file, hashes and all.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const [fault] = document.errors
  const wrong = (offset: number | undefined, message: string): OperatorError => new OperatorError('bad_users_file', `wrong users file: ${path}${offset === undefined ? '' : `, line ${lines.linePos(offset).line}`}: ${message}`)
  if (fault) throw wrong(fault.pos[0], fault.message)
  let content: unknown
  try {
    content = document.toJS({ maxAliasCount: 0 })
  } catch (error) {
    throw wrong(undefined, `${messageOf(error)}; write it without * and &`)
  }
  const parsed = UsersFile.safeParse(content)
  if (parsed.success) return { document, users: parsed.data.users }
  const at = parsed.error.issues[0]?.path.map(key => typeof key === 'number' ? key : String(key)) ?? []
  const name = at[0] === 'users' && typeof at[1] === 'number' ? document.getIn(['users', at[1], 'name']) : undefined
  const said = typeof name === 'string' ? `user ${name.slice(0, 64)}: ${at.slice(2).join('.')}${at.length > 2 ? ': ' : ''}${parsed.error.issues[0]?.message}` : firstIssue(parsed.error)
  throw wrong(offsetOf(document, at), said)
}

/** Where the value at this path stands in the text, or what is nearest around it. */
function offsetOf (document: Document, path: readonly (string | number)[]): number | undefined {
  for (let length = path.length; length >= 0; length--) {
    const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true)
    const range = typeof node === 'object' && node !== null && 'range' in node ? node.range as [number, number, number] | null : null
    if (range) return range[0]
  }
  return undefined
}

function emptyDocument (): Document {
  const document = parseDocument('users: []\n')
  document.commentBefore = HEADING
  return document
}

/** Carries the difference over into the document, and touches nothing else in it. */
function change (document: Document, before: readonly UserEntry[], after: readonly UserEntry[]): void {
  const users = document.get('users')
  if (!isSeq(users)) throw new Error('the users file has no list of users')
  const wanted = new Map(after.map(user => [user.name as string, user]))
  for (let index = before.length - 1; index >= 0; index--) {
    const entry = before[index]
    const to = entry && wanted.get(entry.name)
    if (entry === undefined || to === undefined) users.delete(index)
    else for (const key of Object.keys(UserEntry.shape) as (keyof UserEntry)[]) {
      if (JSON.stringify(entry[key]) === JSON.stringify(to[key])) continue
      if (to[key] === undefined) document.deleteIn(['users', index, key])
      else document.setIn(['users', index, key], to[key])
    }
  }
  const known = new Set(before.map(user => user.name as string))
  for (const user of after) {
    if (known.has(user.name)) continue
    const node = document.createNode(user)
    const lots: unknown = node.get('lots', true)
    if (isSeq(lots)) lots.flow = true
    users.flow = false
    users.add(node)
  }
}

async function openLock (lock: string, path: string, withinMs: number): Promise<FileHandle> {
  for (let waitedMs = 0; ; waitedMs += LOCK_EVERY_MS) {
    try {
      return await open(lock, 'wx', 0o600)
    } catch (error) {
      if (!isSystemError(error) || error.code !== 'EEXIST') throw cannotWrite(path, error)
      // It is not taken away from whoever made it: two that both did so would both write.
      if (waitedMs >= withinMs) throw new OperatorError('users_file_in_use', `another \`parkmq user\` is changing ${path}; if none is running, one was killed: delete ${lock} and try again`, { cause: error })
    }
    await setTimeout(LOCK_EVERY_MS)
  }
}

/**
 * The new file belongs to whom the old one belonged, and a first one to whom its folder belongs: otherwise `sudo parkmq
 * user add` would make a file that parkmq cannot read.
 */
async function takePlaceOf (old: string | null, folder: string, file: FileHandle): Promise<void> {
  if (process.platform === 'win32') return
  const { uid, gid, mode } = await stat(old ?? folder)
  const mine = await file.stat()
  if (old !== null) await file.chmod(0o600 | (mode & 0o040))
  const isRoot = process.getuid?.() === 0
  if (isRoot ? mine.uid !== uid || mine.gid !== gid : old !== null && (mine.uid !== uid || mine.gid !== gid)) await file.chown(uid, gid)
}

async function syncFolder (folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** A group of operators may read; whoever may write could make himself an operator. */
function checkMode (path: string, mode: number): void {
  if (process.platform === 'win32') return
  const others = (mode & 0o022) !== 0 ? 'change' : (mode & 0o004) !== 0 ? 'read' : null
  if (others === null) return
  throw new OperatorError('unsafe_users_file', `other users of this machine may ${others} the users file ${path} (mode ${(mode & 0o777).toString(8)}); take that away with: chmod 600 ${basename(path) === path ? `./${path}` : path}`)
}

function noFile (path: string, cause?: unknown): OperatorError {
  return new OperatorError('no_users_file', `there is no users file ${path}; make it with: parkmq user add NAME --role ROLE --users ${path}`, { cause })
}

function cannotWrite (path: string, cause: unknown): OperatorError {
  return new OperatorError('cannot_write', `cannot write the users file ${path}: ${messageOf(cause)}`, { cause })
}

function isSystemError (error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error && 'syscall' in error
}
