import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { messagesOf, parseMessage } from '../../storage/node-messages.js'
import { parsePostgresUrl } from '../../storage/postgres-url.js'
import type { Id } from '../../shared/lot.js'
import { testFolder } from '../support/app.js'

test.each([
  ['postgres://h/db', { hosts: [{ host: 'h', port: 5_432 }], database: 'db', ssl: false }],
  ['postgresql://ann@h1:5433,h2,[::1]:5434/park%20ing', { hosts: [{ host: 'h1', port: 5_433 }, { host: 'h2', port: 5_432 }, { host: '::1', port: 5_434 }], user: 'ann', database: 'park ing', ssl: false }],
  ['postgres://ann:p%40ss@h/db?sslmode=require', { hosts: [{ host: 'h', port: 5_432 }], user: 'ann', password: 'p@ss', database: 'db', ssl: { rejectUnauthorized: false } }],
  ['postgres://h/db?sslmode=verify-full', { hosts: [{ host: 'h', port: 5_432 }], database: 'db', ssl: { rejectUnauthorized: true } }]
])('%s is read', (url, target) => expect(parsePostgresUrl(url)).toEqual(target))

test('the certificate of the authority is read from its file, and verify-ca asks for no name', () => {
  const file = join(testFolder(), 'ca.pem')
  writeFileSync(file, 'PEM')
  expect(parsePostgresUrl(`postgres://h/db?sslmode=verify-ca&sslrootcert=${file}`).ssl).toMatchObject({ rejectUnauthorized: true, ca: 'PEM', checkServerIdentity: expect.any(Function) as unknown })
})

test.each([
  ['postgres://h', 'user@host1,host2/database'],
  ['mysql://h/db', 'user@host1,host2/database'],
  ['postgres://h1,,h2/db', 'an empty host'],
  ['postgres://h:70000/db', 'h:70000'],
  ['postgres://h:1:2/db', 'h:1:2'],
  [`postgres://${'h,'.repeat(20)}h/db`, 'at most 16'],
  ['postgres://h/db?sslmode=maybe', 'sslmode=maybe'],
  ['postgres://h/db?target=any', 'target is unknown'],
  ['postgres://h/db?sslmode=verify-full&sslrootcert=/none.pem', '/none.pem'],
  ['postgres://ann:%zz@h/db', 'the password is not percent-encoded']
])('%s is refused', (url, why) => {
  expect(() => parsePostgresUrl(url)).toThrow(why)
  expect(() => parsePostgresUrl(url)).toThrow('wrong setting: database')
})

test('what nodes tell each other fits into notifications, whatever the ids, and comes back as it was', () => {
  const lots = new Map(Array.from({ length: 500 }, (_, i) => [`${'L'.repeat(60)}${i}`.slice(0, 64) as Id, i % 7 === 0 ? null : Number.MAX_SAFE_INTEGER]))
  const bays = new Set([...lots.keys()].filter((_, i) => i % 2 === 0))
  const messages = messagesOf('x'.repeat(36), { lots, withBays: bays, hasNotices: true, hasEvents: true })
  for (const message of messages) expect(Buffer.byteLength(message)).toBeLessThan(8_000)
  const told = messages.map(message => parseMessage(message) ?? expect.fail('not parsed'))
  expect(new Map(told.flatMap(one => [...one.lots]))).toEqual(lots)
  expect(new Set(told.flatMap(one => [...one.withBays]))).toEqual(bays)
  expect(told.filter(one => one.hasNotices)).toHaveLength(1)
  expect(messagesOf('x', { lots: new Map(), withBays: new Set(), hasNotices: true, hasEvents: false })).toHaveLength(1)
})

test.each(['', 'no JSON', '{}', '{"from":"x","lots":[["a/b",1]],"bays":[],"notices":false}', '[1]'])('a notification %j is none of ours', payload => expect(parseMessage(payload)).toBeNull())
