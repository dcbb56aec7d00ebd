// Hashes of passwords: what is stored, what is accepted, and what a users file may not ask of this machine.
import { scryptSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { COSTS, dummyHash, generatePassword, hashPassword, isCheap, MAX_PASSWORD_BYTES, parseHash, verifyPassword, type PasswordHash } from '../../broker/password.js'

const bytes = (text: string): Buffer => Buffer.from(text)

function parsed (phc: string): PasswordHash {
  const hash = parseHash(phc)
  if (hash === null) throw new Error(`${phc} is no hash`)
  return hash
}

describe.each(['chosen', 'random'] as const)('a hash of a %s password', kind => {
  test('is a PHC string with its cost, and takes the right password only', async () => {
    const phc = await hashPassword('correct horse', kind)
    const { ln, r, p } = COSTS[kind]
    expect(phc).toMatch(new RegExp(`^\\$scrypt\\$ln=${ln},r=${r},p=${p}\\$[A-Za-z0-9+/]{22}\\$[A-Za-z0-9+/]{43}$`))
    const hash = parsed(phc)
    expect(await verifyPassword(hash, bytes('correct horse'))).toBe(true)
    for (const wrong of ['correct hors', 'correct horse ', '', 'Correct horse', '\0correct horse']) expect(await verifyPassword(hash, bytes(wrong))).toBe(false)
  })

  test('has a salt of its own', async () => {
    expect(await hashPassword('the same', kind)).not.toBe(await hashPassword('the same', kind))
  })
})

test('a hash is that of scrypt itself, so that other programs can check it', async () => {
  const { salt, key, ln, r, p } = parsed(await hashPassword('pässword', 'random'))
  expect(scryptSync('pässword', salt, 32, { N: 2 ** ln, r, p })).toEqual(key)
})

test('a chosen password costs what OWASP asks for, a random one next to nothing', () => {
  const { chosen, random } = COSTS
  expect(2 ** chosen.ln * chosen.r * chosen.p).toBeGreaterThanOrEqual(2 ** 14 * 8 * 5)
  expect(isCheap(random)).toBe(true)
  expect(isCheap(chosen)).toBe(false)
})

test('a password of any bytes is taken, up to its limit', async () => {
  const longest = Buffer.alloc(MAX_PASSWORD_BYTES, 0xff)
  const hash = parsed(await hashPassword(longest, 'random'))
  expect(await verifyPassword(hash, longest)).toBe(true)
  expect(await verifyPassword(hash, Buffer.alloc(MAX_PASSWORD_BYTES + 1, 0xff))).toBe(false)
  await expect(hashPassword(Buffer.alloc(MAX_PASSWORD_BYTES + 1), 'random')).rejects.toThrow(/1025 bytes; at most 1024/)
})

test('nothing is the password of a dummy', async () => {
  expect(await verifyPassword(dummyHash('random'), bytes(''))).toBe(false)
})

const SALT = 'AAAAAAAAAAAAAAAAAAAAAA'
const KEY = 'A'.repeat(43)

test.each([
  ['a plain password', 'secret'],
  ['nothing', ''],
  ['another algorithm', `$argon2id$v=19$m=65536,t=3,p=4$${SALT}$${KEY}`],
  ['no parameters', `$scrypt$${SALT}$${KEY}`],
  ['no steps', `$scrypt$ln=0,r=8,p=1$${SALT}$${KEY}`],
  ['more memory than one check may have', `$scrypt$ln=20,r=8,p=1$${SALT}$${KEY}`],
  ['more work than one check may have', `$scrypt$ln=17,r=8,p=16$${SALT}$${KEY}`],
  ['a cost of three digits', `$scrypt$ln=100,r=8,p=1$${SALT}$${KEY}`],
  ['a short salt', `$scrypt$ln=14,r=8,p=5$AAAA$${KEY}`],
  ['a short key', `$scrypt$ln=14,r=8,p=5$${SALT}$AAAA`],
  ['something after it', `$scrypt$ln=14,r=8,p=5$${SALT}$${KEY}\n`],
  ['base64 with padding', `$scrypt$ln=14,r=8,p=5$${SALT}==$${KEY}=`]
])('%s is no hash', (_, phc) => expect(parseHash(phc)).toBeNull())

test('the strongest of the OWASP choices is taken', () => expect(parseHash(`$scrypt$ln=17,r=8,p=1$${SALT}$${KEY}`)).toMatchObject({ ln: 17, r: 8, p: 1 }))

test('a generated password has 130 bits that need no quotes anywhere', () => {
  const made = Array.from({ length: 200 }, generatePassword)
  for (const password of made) expect(password).toMatch(/^[0-9a-hjkmnp-tv-z]{26}$/)
  expect(new Set(made).size).toBe(200)
  expect(new Set(made.join('')).size).toBe(32)
})
