// Nobody can guess a secret, so no two may be alike, however many are drawn at once.
import { expect, test } from 'vitest'
import { newId, newSecret } from '../../services/reservation/new-names.js'

test('secrets are 128 bits in base64url, and no two have a byte of the same draw', () => {
  // More than twice what is drawn at once.
  const secrets = Array.from({ length: 600 }, newSecret)
  expect(new Set(secrets).size).toBe(600)
  const bytes = secrets.map(secret => Buffer.from(secret, 'base64url'))
  expect(bytes.every(({ length }, i) => length === 16 && secrets[i]?.length === 22)).toBe(true)
  // Windows that overlapped would have the end of one at the begin of another.
  const halves = bytes.flatMap(secret => [secret.toString('hex', 0, 8), secret.toString('hex', 8)])
  expect(new Set(halves).size).toBe(1_200)
})

test('ids have twelve letters that nobody confuses, and are different', () => {
  const ids = Array.from({ length: 1_000 }, () => newId('R'))
  expect(new Set(ids).size).toBe(1_000)
  expect(ids.filter(id => !/^R-[2-9A-HJKMNP-Z]{12}$/.test(id))).toEqual([])
})
