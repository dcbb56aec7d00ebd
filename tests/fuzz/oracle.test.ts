// The fuzzer's own opinion, tested: a judge that lets everything pass finds nothing. Bytes are hexadecimal.
import { describe, expect, test } from 'vitest'
import { Conversation } from './conversation.js'
import { Judge, type Announced } from './judge.js'
import { lifeOf } from './life.js'
import { ServerReader } from './server-packets.js'
import type { Version } from './client-packets.js'

const CONNECT: Record<Version, string> = { 3: '101000064d51497364700302000000024343', 4: '100e00044d51545404020000' + '00024343', 5: '100f00044d5154540502000000' + '00024343' }
const ANNOUNCED: Announced = { receiveMaximum: 2, topicAliasMaximum: 4, maximumPacketBytes: 100, sharedSubscriptions: true }

/** The reasons with which the bytes behind a CONNECT must be refused; null when they must not. */
function judged (version: Version, hex: string): number[] | null {
  const judge = new Judge(ANNOUNCED, () => {})
  // Byte by byte: an opinion must not depend on how the bytes come.
  for (const byte of Buffer.from(CONNECT[version] + hex, 'hex')) judge.push(Buffer.from([byte]))
  expect(judge.connected).toBe(true)
  return judge.violation === null ? null : [...judge.violation.reasons].sort()
}

test.each<[string, Version, string, number[] | null]>([
  ['PINGREQ', 5, 'c000', null],
  ['PUBLISH with an alias, and by it', 5, '3008000161032300' + '0131' + '3007000003230001' + '31', null],
  ['a remaining length with a needless byte', 4, 'c08000', null],
  ['a remaining length with a needless byte', 5, 'c08000', [0x81, 0x82]],
  ['PINGREQ with flags', 4, 'c100', [0x81, 0x82]],
  ['PUBLISH with QoS 3', 5, '36060001610001' + '00', [0x81, 0x82]],
  ['PUBLISH with a wildcard', 5, '300400012300', [0x81, 0x82, 0x90]],
  ['an unknown alias', 5, '3006000003230001', [0x82, 0x94]],
  ['an alias above the maximum', 5, '300700016103230005', [0x82, 0x94]],
  ['more QoS 2 than Receive Maximum', 5, '340600016100010034060001610002003406000161000300', [0x93]],
  ['as many QoS 2 after PUBREL', 5, '3406000161000100340600016100020062020001' + '3406000161000300', null],
  ['too large a packet', 5, '30ff7f', [0x95]],
  ['a property twice', 5, '300e0001610a02000000010200000001', [0x81, 0x82]],
  ['a property that belongs elsewhere', 5, '300900016105110000000' + '1', [0x81, 0x82]],
  ['a topic that is not UTF-8', 4, '30030001ff', [0x81, 0x82]],
  ['SUBSCRIBE without a filter', 4, '82020001', [0x81, 0x82]],
  ['a filter with a wildcard in a wrong place', 5, '820800010000026123' + '00', [0x81, 0x82, 0x8f]],
  ['a shared subscription without a group', 5, '820f000100' + '00092473686172652f2f61' + '00', [0x81, 0x82, 0x8f]],
  ['the same before 5.0, where it is a name', 4, '820e0001' + '00092473686172652f2f61' + '00', null],
  ['No Local on a shared subscription', 5, '8210000100' + '000a2473686172652f672f61' + '04', [0x81, 0x82]],
  ['what only a server says', 4, '90030001' + '00', [0x81, 0x82]],
  ['a second CONNECT', 5, CONNECT[5], [0x81, 0x82]],
  ['a session expiry that comes only with DISCONNECT', 5, 'e00700051100000001', [0x82]],
  ['anything behind DISCONNECT', 5, 'e000ffff', null]
])('judges %s (version %i)', (_, version, hex, reasons) => {
  expect(judged(version, hex)).toEqual(reasons)
})

/** What is wrong with a broker that says `hex` to a client that has said CONNECT and `said`. */
function faultOf (version: Version, said: string, hex: string, connect = CONNECT[version]): string | null {
  const conversation = new Conversation(null)
  new Judge(ANNOUNCED, packet => conversation.sent(packet)).push(Buffer.from(connect + said, 'hex'))
  try {
    new ServerReader(version, packet => conversation.received(packet)).push(Buffer.from(hex, 'hex'))
    return conversation.dueNow()()[0] ?? null
  } catch (error) {
    return String(error)
  }
}

describe('what a broker says', () => {
  const IN = '2003000000'
  const SUBSCRIBE = '8207000100' + '00012302'

  test.each<[string, string, string]>([
    ['an answer', 'c000', 'd000'],
    ['SUBACK and a message', SUBSCRIBE, '9004000100' + '02' + '3206000161000100']
  ])('may be %s', (_, said, heard) => {
    expect(faultOf(5, said, IN + heard)).toBeNull()
  })

  test.each<[string, string, string, string]>([
    ['no answer', 'c000', '', '1 of pingresp'],
    ['an answer to nothing', '', '40020001', 'nobody asked for puback 1'],
    ['too few codes', SUBSCRIBE, '9003000100', '0 codes for 1 filters'],
    ['more than was subscribed to', '8207000100' + '00012300', '90040001000' + '0' + '3206000161000100', 'QoS 1 on "a", subscribed with 0'],
    ['a message that nobody wants', '', '300400016100', 'not subscribed'],
    ['an identifier in use', SUBSCRIBE, '900400010002' + '3206000161000100' + '3206000161000100', 'in use'],
    ['DUP on a new message', SUBSCRIBE, '900400010002' + '3a06000161000100', 'DUP'],
    ['an alias that the client does not allow', SUBSCRIBE, '900400010002' + '300700016103230001', 'topic alias 1'],
    ['something behind DISCONNECT', '', 'e00182d000', 'after DISCONNECT'],
    ['flags', 'c000', 'd100', 'flags 1'],
    ['a reason code of another packet', 'c000', 'e00104', 'reason code 0x4']
  ])('may not be %s', (_, said, heard, words) => {
    expect(faultOf(5, said, IN + heard)).toContain(words)
  })

  test('may not be more than the client takes', () => {
    const small = '101a00044d515454050200000b' + '2100012700000014' + '220000' + '00024343'
    const two = '320600016100' + '0100' + '320600016100' + '0200'
    expect(faultOf(5, SUBSCRIBE, IN + '900400010002' + two, small)).toContain('the window is 1')
    expect(faultOf(5, SUBSCRIBE, IN + '900400010002' + `301300016100${'78'.repeat(15)}`, small)).toContain('Maximum Packet Size 20')
  })

  test('may not be 5.0 to a client of 3.1.1', () => {
    expect(faultOf(4, '', '2003000000')).toContain('left over')
    expect(faultOf(4, '', '20020000' + 'e000')).toContain('DISCONNECT before 5.0')
  })
})

test('a life is the same each time, and another for another number', () => {
  const life = lifeOf(7, 3, 1_000)
  expect(lifeOf(7, 3, 1_000)).toEqual(life)
  expect(lifeOf(7, 4, 1_000).rounds).not.toEqual(life.rounds)
  expect(lifeOf(8, 3, 1_000).rounds).not.toEqual(life.rounds)
})
