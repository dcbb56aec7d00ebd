// What the broker says besides messages, as bytes: acknowledgements with a reason, CONNACK, SUBACK, DISCONNECT. Nothing
// that MQTT 5.0 added goes to older clients, and nothing is longer than its receiver takes.
import mqttPacket, { type IConnackPacket } from 'mqtt-packet'
import { Reason } from './reason-codes.js'

/** The first byte of each acknowledgement. */
export const AckType = { puback: 0x40, pubrec: 0x50, pubrel: 0x62, pubcomp: 0x70 } as const
export type AckType = (typeof AckType)[keyof typeof AckType]

const NAMES = { [AckType.puback]: 'puback', [AckType.pubrec]: 'pubrec', [AckType.pubrel]: 'pubrel', [AckType.pubcomp]: 'pubcomp' } as const

/** What a client told in CONNECT that bears on what it may be sent. */
export interface AckLimits {
  readonly version: 3 | 4 | 5 | null
  /** False when it wants no Reason Strings outside CONNACK and DISCONNECT. [MQTT-3.1.2-29] */
  readonly problemInformation: boolean
  /** Largest packet that it takes, in bytes. */
  readonly maxPacketBytes: number
}

/** An acknowledgement with a reason code to an MQTT 5.0 client and, where it wants it and has room for it, the reason in words. */
export function reasonedAck (type: AckType, messageId: number, reason: Reason, words: string | null, { problemInformation, maxPacketBytes }: AckLimits): Buffer {
  const packet = { cmd: NAMES[type], messageId, reasonCode: reason }
  if (words === null || !problemInformation) return generate(packet)
  const bytes = generate({ ...packet, properties: { reasonString: words } })
  return bytes.length <= maxPacketBytes ? bytes : generate(packet)
}

/** SUBACK, or UNSUBACK for MQTT 5.0, with one code for each filter. [MQTT-3.8.4-6] [MQTT-3.11.3-1] */
export function codesBytes (cmd: 'suback' | 'unsuback', messageId: number, granted: number[], version: 3 | 4 | 5): Buffer {
  return mqttPacket.generate(version === 5 || cmd === 'suback' ? { cmd, messageId, granted } : { cmd, messageId } as mqttPacket.Packet, { protocolVersion: version })
}

/** CONNACK that lets a client in, with all that it is told or what fits; null when not even the least does. [MQTT-3.1.2-24] */
export function welcomeBytes (sessionPresent: boolean, properties: NonNullable<IConnackPacket['properties']>, version: 3 | 4 | 5, maxPacketBytes: number): Buffer | null {
  // MQTT 3.1 has no such flag.
  if (version < 5) return mqttPacket.generate({ cmd: 'connack', sessionPresent: sessionPresent && version === 4, returnCode: 0 }, { protocolVersion: version })
  // What a client can do without goes first.
  const fewer = { ...properties }
  for (const dispensable of [undefined, 'responseInformation', 'topicAliasMaximum'] as const) {
    if (dispensable !== undefined) delete fewer[dispensable]
    const bytes = generate({ cmd: 'connack', sessionPresent, reasonCode: Reason.success, properties: fewer })
    if (bytes.length <= maxPacketBytes) return bytes
  }
  return null
}

/** The last words to a connected MQTT 5.0 client: DISCONNECT with the reason in words where they fit. */
export function disconnectBytes (reason: Reason, words: string, maxPacketBytes: number): Buffer {
  const bytes = generate({ cmd: 'disconnect', reasonCode: reason, properties: { reasonString: words } })
  return bytes.length <= maxPacketBytes ? bytes : generate({ cmd: 'disconnect', reasonCode: reason })
}

/** What older versions call the reasons that they have a code for (3.1.1 section 3.2.2.3). */
const RETURN_CODES: Partial<Record<Reason, number>> = {
  [Reason.unsupportedProtocolVersion]: 1, [Reason.clientIdNotValid]: 2, [Reason.serverUnavailable]: 3, [Reason.serverBusy]: 3, [Reason.useAnotherServer]: 3, [Reason.badUserNameOrPassword]: 4,
  [Reason.notAuthorized]: 5
}

/** Reasons that only DISCONNECT has, as CONNACK says them (MQTT 5.0 section 3.2.2.2). */
const IN_CONNACK: Partial<Record<Reason, Reason>> = { [Reason.serverShuttingDown]: Reason.serverUnavailable, [Reason.administrativeAction]: Reason.serverBusy }

/** The answer to a CONNECT that is not accepted: null where the version has no code for it, or the client no room. */
export function connackBytes (why: Reason, words: string, version: 3 | 4 | 5, maxPacketBytes: number): Buffer | null {
  const reason = IN_CONNACK[why] ?? why
  if (version === 5) {
    const packet = { cmd: 'connack', sessionPresent: false, reasonCode: reason } as const
    for (const bytes of [generate({ ...packet, properties: { reasonString: words } }), generate(packet)]) if (bytes.length <= maxPacketBytes) return bytes
    return null
  }
  const returnCode = RETURN_CODES[reason]
  return returnCode === undefined ? null : mqttPacket.generate({ cmd: 'connack', sessionPresent: false, returnCode }, { protocolVersion: version })
}

function generate (packet: mqttPacket.Packet): Buffer {
  return mqttPacket.generate(packet, { protocolVersion: 5 })
}
