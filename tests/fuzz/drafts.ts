// Packets of a client as the parts they are made of, so that they can be damaged at every level and still be packed
// correctly around the damage: that is how wrong fields get past the checks of lengths.
import type { Random } from '../support/mqtt-bytes.js'
import { PROPERTIES, type Kind } from './properties.js'

export interface Draft {
  /** The first byte. */
  first: number
  /** The fields before the properties. */
  head: Buffer[]
  /** One buffer for each property; null where the version or the packet has none. */
  properties: Buffer[] | null
  /** The fields after the properties. */
  tail: Buffer[]
}

/** How lengths are written: as they are, or wrong on purpose. */
export interface Packing {
  readonly propertyBytes?: number
  readonly remainingBytes?: number
  /** Bytes of the remaining length that are not needed. */
  readonly padding?: number
}

export function packed ({ first, head, properties, tail }: Draft, { propertyBytes, remainingBytes, padding = 0 }: Packing = {}): Buffer {
  const fields = propertyFields(properties, propertyBytes)
  const body = Buffer.concat([...head, ...fields, ...tail])
  return Buffer.concat([Buffer.from([first]), varint(remainingBytes ?? body.length, padding), body])
}

function propertyFields (properties: Buffer[] | null, propertyBytes?: number): Buffer[] {
  if (properties === null) return []
  const bytes = Buffer.concat(properties)
  return [varint(propertyBytes ?? bytes.length), bytes]
}

export function uint16 (value: number): Buffer {
  return Buffer.from([(value >> 8) & 255, value & 255])
}

export function uint32 (value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** A Variable Byte Integer; `padding` adds bytes that say nothing. */
export function varint (value: number, padding = 0): Buffer {
  const bytes: number[] = []
  let left = value
  do {
    bytes.push(left % 128)
    left = Math.floor(left / 128)
  } while (left > 0)
  for (let i = 0; i < padding; i++) bytes.push(0)
  return Buffer.from(bytes.map((byte, i) => i < bytes.length - 1 ? byte | 128 : byte))
}

export function binary (bytes: Buffer): Buffer {
  return Buffer.concat([uint16(bytes.length), bytes])
}

export function string (text: string): Buffer {
  return binary(Buffer.from(text))
}

export function property (id: number, value: number | string | Buffer): Buffer {
  return Buffer.concat([Buffer.from([id]), valueBytes(PROPERTIES.get(id)?.kind ?? 'byte', value)])
}

function valueBytes (kind: Kind, value: number | string | Buffer): Buffer {
  if (kind === 'pair') {
    const [name = '', ...rest] = String(value).split('=')
    return Buffer.concat([string(name), string(rest.join('='))])
  }
  if (typeof value !== 'number') return binary(Buffer.from(value))
  if (kind === 'uint16') return uint16(value)
  if (kind === 'uint32') return uint32(value)
  return kind === 'varint' ? varint(value) : Buffer.from([value])
}

const INVALID_UTF8 = ['ff', 'c0af', 'eda080', 'f4908080', 'e282', '00', '6100', 'efbfbe'].map(hex => Buffer.from(hex, 'hex'))

/** Any property with any value of its kind, whether it belongs here or not. */
export function anyProperty (random: Random): Buffer {
  const id = random.chance(0.1) ? random.int(128) : random.pick([...PROPERTIES.keys()])
  const numeric = ['flag', 'byte', 'uint16', 'uint32', 'varint'].includes(PROPERTIES.get(id)?.kind ?? 'byte')
  return property(id, numeric ? random.pick([0, 1, 2, 20, 255, 65_535]) : random.pick(['', 'a', 'a/b', '#', 'x'.repeat(random.int(200))]))
}

/** The packet with something wrong in it, or not: whether it is wrong is for the judge to say. */
export function damaged (random: Random, draft: Draft): Buffer {
  const copy: Draft = { first: draft.first, head: [...draft.head], properties: draft.properties && [...draft.properties], tail: [...draft.tail] }
  const size = packed(copy).length
  switch (random.int(14)) {
    case 0: copy.first ^= 1 << random.int(8); break
    case 1: copy.first = (copy.first & 0xf0) | random.int(16); break
    case 2: case 3: case 4: return damagedProperties(random, copy)
    case 5: return packed(copy, { remainingBytes: Math.max(0, size - 2 + random.int(9) - 4) })
    case 6: return packed(copy, { remainingBytes: random.pick([0, 127, 128, 16_384, 2_097_152, 268_435_455]) })
    case 7: return packed(copy, { padding: 1 + random.int(4) })
    case 8: return Buffer.concat([Buffer.from([copy.first, 0xff, 0xff, 0xff, 0xff, random.int(256)]), Buffer.concat(copy.head)])
    case 9: case 10: damageField(random, random.chance(0.5) || copy.tail.length === 0 ? copy.head : copy.tail); break
    case 11: copy.tail.push(Buffer.from([random.int(256)])); break
    case 12: copy.tail.push(random.pick(copy.head.length > 0 ? copy.head : [Buffer.from([0])])); break
    default: return random.mutated(packed(copy))
  }
  return packed(copy)
}

function damagedProperties (random: Random, draft: Draft): Buffer {
  const properties = draft.properties ??= []
  switch (random.int(6)) {
    case 0: case 1: properties.splice(random.int(properties.length + 1), 0, anyProperty(random)); break
    case 2: if (properties.length > 0) properties.push(random.pick(properties)); break
    case 3: return packed(draft, { propertyBytes: random.pick([0, 1, 5, 127, 128, 16_384, 268_435_455]) })
    case 4: if (properties.length > 0) damageField(random, properties); break
    default: properties.push(Buffer.concat([Buffer.from([0x80 | random.int(128)]), Buffer.from([random.int(3)]), string('x')]))
  }
  return packed(draft)
}

function damageField (random: Random, fields: Buffer[]): void {
  if (fields.length === 0) return
  const at = random.int(fields.length)
  const field = Buffer.from(fields[at] ?? [])
  switch (random.int(6)) {
    case 0: fields.splice(at, 1); break
    case 1: fields.splice(at, 0, field); break
    case 2: fields[at] = field.subarray(0, random.int(field.length + 1)); break
    case 3: fields[at] = binary(random.pick(INVALID_UTF8)); break
    case 4: fields[at] = string('x'.repeat(random.pick([0, 1, 23, 24, 1_000, 65_535]))); break
    default: if (field.length > 0) fields[at] = random.mutated(field)
  }
}
