// The requests that benches make, as packets to be filled in: what of each is the same every time is encoded once.
import { string, uint16, varint } from './mqtt-bytes.js'
import { PacketTemplate, type Part } from './packet-template.js'

export const ACTS = ['availability', 'availability of a window', 'reserve', 'cancel', 'book', 'change'] as const
export type Act = (typeof ACTS)[number]

const METHODS: Readonly<Record<Act, string>> = { availability: 'availability', 'availability of a window': 'availability', reserve: 'reserve', cancel: 'cancel', book: 'book', change: 'change' }

/** What differs between two requests of one kind from one client. */
export type RequestHole = 'packetId' | 'correlation' | 'plate' | 'requestId' | 'reservation' | 'secret' | 'from' | 'to'
export type RequestTemplate = PacketTemplate<RequestHole>

const CORRELATION_BYTES = 4
/** Widths in bytes: fixed, so that packets can be filled in place. */
export const PLATE_BYTES = 16
export const REQUEST_ID_BYTES = 24
export const RESERVATION_BYTES = 14
export const SECRET_BYTES = 22
/** `2026-11-21T08:00Z` */
export const MINUTE_BYTES = 17

export interface RequestParts {
  readonly act: Act
  readonly lot: string
  readonly replyTo: string
  /** Changing requests carry a `requestId`, as those of the command line do. */
  readonly requestIds: boolean
}

const hole = (name: RequestHole, bytes: number): Part<RequestHole> => ({ hole: name, bytes })
const RESERVATION = [`"reservation":"`, hole('reservation', RESERVATION_BYTES), `","secret":"`, hole('secret', SECRET_BYTES), '"'] as const
const WINDOW = [`"from":"`, hole('from', MINUTE_BYTES), `","to":"`, hole('to', MINUTE_BYTES), '"'] as const
const PLATE = [`"plate":"`, hole('plate', PLATE_BYTES), '"'] as const

/** A QoS 1 PUBLISH of MQTT 5.0 with Response Topic and Correlation Data. */
export function requestTemplate ({ act, lot, replyTo, requestIds }: RequestParts): RequestTemplate {
  const lotField = `"lot":"${lot}"`
  const fields: Readonly<Record<Act, readonly Part<RequestHole>[]>> = {
    availability: [lotField],
    'availability of a window': [`${lotField},`, ...WINDOW],
    reserve: [`${lotField},`, ...PLATE],
    cancel: RESERVATION,
    book: [`${lotField},`, ...PLATE, ',', ...WINDOW],
    change: [...RESERVATION, ',"shiftMinutes":30']
  }
  const withId = requestIds && METHODS[act] !== 'availability' ? [',"requestId":"', hole('requestId', REQUEST_ID_BYTES), '"'] : []
  const responseTopic = string(replyTo)
  const propertiesLength = 1 + responseTopic.length + 1 + 2 + CORRELATION_BYTES
  return new PacketTemplate<RequestHole>(0x32, [
    string(`requests/${METHODS[act]}`), hole('packetId', 2), Buffer.from(varint(propertiesLength)),
    Buffer.from([0x08]), responseTopic, Buffer.from([0x09]), uint16(CORRELATION_BYTES), hole('correlation', CORRELATION_BYTES),
    '{', ...fields[act], ...withId, '}'
  ])
}
