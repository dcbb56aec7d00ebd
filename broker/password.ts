// Hashes of passwords with scrypt (RFC 7914), never on the thread that moves messages, written as PHC strings with their parameters in them:
// `$scrypt$ln=14,r=8,p=5$salt$hash`. A password is never kept, logged, or compared in a time that tells of it.
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'

/** Bytes: what is longer is refused before anything is computed. */
export const MAX_PASSWORD_BYTES = 1_024
/** Bytes: the shortest password that a person may choose (NIST SP 800-63B section 5.1.1.2, in characters). */
export const MIN_PASSWORD_BYTES = 8

/** `ln` is the logarithm of the number of steps N, `r` the block size, `p` how often all of it is done. */
export interface Cost {
  readonly ln: number
  readonly r: number
  readonly p: number
}

/** `chosen` by a person, who chooses what can be guessed; `random`, of 128 bits, which nobody can guess at any speed. */
export type PasswordKind = 'chosen' | 'random'

/**
 * `chosen` is one of the equivalent choices of the OWASP Password Storage Cheat Sheet, the one with 16 MiB: a small
 * machine can spare that twice at once, and 128 MiB not. `random` is cheap, so that a thousand devices come back quickly.
 */
export const COSTS: Readonly<Record<PasswordKind, Cost>> = { chosen: { ln: 14, r: 8, p: 5 }, random: { ln: 4, r: 8, p: 1 } }

const SALT_BYTES = 16
const KEY_BYTES = 32

/** Bounds of what a users file may ask of this machine: at most 256 MiB and some seconds for one check. */
const MOST = { ln: 20, r: 32, p: 16, memoryBytes: 256 * 1024 * 1024, steps: 2 ** 22 }
const PHC = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/

/** A PHC string, taken apart. */
export interface PasswordHash extends Cost {
  readonly salt: Buffer
  readonly key: Buffer
}

/** Takes a PHC string apart; null when it is none, or costs more than this machine should spend on it. */
export function parseHash (phc: string): PasswordHash | null {
  const [, ln = '', r = '', p = '', salt = '', key = ''] = PHC.exec(phc) ?? []
  if (salt === '') return null
  const cost = { ln: Number(ln), r: Number(r), p: Number(p) }
  if (cost.ln < 1 || cost.ln > MOST.ln || cost.r < 1 || cost.r > MOST.r || cost.p < 1 || cost.p > MOST.p) return null
  if (memoryOf(cost) > MOST.memoryBytes || 2 ** cost.ln * cost.r * cost.p > MOST.steps) return null
  return { ...cost, salt: Buffer.from(salt, 'base64'), key: Buffer.from(key, 'base64') }
}

/** Hashes a password with a new salt. Throws `RangeError` above `MAX_PASSWORD_BYTES`. */
export async function hashPassword (password: string | Uint8Array, kind: PasswordKind): Promise<string> {
  const bytes = Buffer.from(password)
  if (bytes.length > MAX_PASSWORD_BYTES) throw new RangeError(`the password has ${bytes.length} bytes; at most ${MAX_PASSWORD_BYTES} are taken`)
  const cost = COSTS[kind]
  const salt = randomBytes(SALT_BYTES)
  const key = await onPool(bytes, salt, KEY_BYTES, cost)
  return `$scrypt$ln=${cost.ln},r=${cost.r},p=${cost.p}$${unpadded(salt)}$${unpadded(key)}`
}

/** Computes `length` bytes with scrypt, somewhere else than on the thread that moves messages. */
export type Derive = (password: Uint8Array, salt: Uint8Array, length: number, cost: Cost) => Promise<Buffer>

/**
 * Whether it is the password of this hash. It costs the same whether it is or not. `derive` says where it is computed; by
 * default on Node's thread pool.
 */
export async function verifyPassword (hash: PasswordHash, password: Uint8Array, derive: Derive = onPool): Promise<boolean> {
  if (password.length > MAX_PASSWORD_BYTES) return false
  return timingSafeEqual(await derive(password, hash.salt, hash.key.length, hash), hash.key)
}

/** Whether a wrong password for this hash is told in less time than one for a password that a person chose. */
export function isCheap ({ ln, r, p }: Cost): boolean {
  const { chosen } = COSTS
  return 2 ** ln * r * p < 2 ** chosen.ln * chosen.r * chosen.p
}

/** A hash of nothing: what is computed where there is no user, so that the time does not tell. */
export function dummyHash (kind: PasswordKind): PasswordHash {
  return { ...COSTS[kind], salt: randomBytes(SALT_BYTES), key: randomBytes(KEY_BYTES) }
}

// Crockford's: none is taken for another when it is read aloud or typed into a device, and none means anything to a shell.
const LETTERS = '0123456789abcdefghjkmnpqrstvwxyz'

/** A password of 26 letters and digits, 130 random bits. */
export function generatePassword (): string {
  return Array.from(randomBytes(26), byte => LETTERS[byte & 31]).join('')
}

/** How a cost is written for Node's scrypt, with the memory that it may take, in bytes. */
export function scryptOptions ({ ln, r, p }: Cost): { N: number, r: number, p: number, maxmem: number } {
  return { N: 2 ** ln, r, p, maxmem: 2 * memoryOf({ ln, r, p }) + 1024 * 1024 }
}

async function onPool (password: Uint8Array, salt: Uint8Array, length: number, cost: Cost): Promise<Buffer> {
  return await new Promise((resolve, reject) => scrypt(password, salt, length, scryptOptions(cost), (error, key) => error ? reject(error) : resolve(key)))
}

function memoryOf ({ ln, r, p }: Cost): number {
  return 128 * r * (2 ** ln + p)
}

function unpadded (bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '')
}
