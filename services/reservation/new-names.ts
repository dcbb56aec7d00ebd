// What a new reservation or sale is called, and the secret that its driver shows. Nobody can guess either.
import { randomFillSync, randomInt } from 'node:crypto'

/** Letters and digits that nobody confuses at a counter. */
const ID_LETTERS = '23456789ABCDEFGHJKMNPQRSTUVWXYZ'
const SECRET_BYTES = 16

/** Drawn for many secrets at once: the call costs as much for one. */
const drawn = Buffer.alloc(256 * SECRET_BYTES)
let next = drawn.length

export function newId (prefix: 'R' | 'S'): string {
  let id = `${prefix}-`
  for (let i = 0; i < 12; i++) id += ID_LETTERS[randomInt(ID_LETTERS.length)]
  return id
}

/** 128 bits in base64url. No two share a byte that was drawn. */
export function newSecret (): string {
  if (next === drawn.length) {
    randomFillSync(drawn)
    next = 0
  }
  const secret = drawn.toString('base64url', next, next + SECRET_BYTES)
  next += SECRET_BYTES
  return secret
}
