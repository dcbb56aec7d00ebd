// What a PUBLISH from an external broker is to a consumer, and how its PUBACK is held until the outcome is known.
import type { IPublishPacket, MqttClient, Packet } from 'mqtt'
import type { Delivery, MessageProperties, Outcome } from './bus.js'
import { messageOf, OperatorError, type ErrorCode } from './errors.js'

/** Characters of a refusal's message that go into the PUBACK. */
const MAX_REASON_CHARACTERS = 200

/** The method of MQTT.js that every packet goes through on its way out. */
export type SendPacket = (packet: Packet, done?: (error?: Error) => void, ...rest: unknown[]) => void

/**
 * Keeps MQTT.js from acknowledging a message as soon as it is emitted; returns its way to send a packet. `handleMessage`,
 * its public way, takes one message at a time and blocks every other packet meanwhile (measured: 1,850 messages/s, and
 * 28,000 this way). `_sendPacket` is private: package.json pins the version, and tests/bus fails when it changes.
 */
export function holdPubacks (client: MqttClient): SendPacket {
  const inner = client as unknown as { _sendPacket?: SendPacket }
  const original = inner._sendPacket
  if (typeof original !== 'function') throw new Error('this version of MQTT.js has no _sendPacket, so PUBACKs cannot be held: install the version of package-lock.json')
  inner._sendPacket = (packet, done, ...rest) => {
    if (packet.cmd === 'puback') done?.()
    else original.call(client, packet, done, ...rest)
  }
  return original.bind(client)
}

/** Retain Handling 2: nothing retained is handed over, so that no start counts an old message again. */
export async function subscribe (client: MqttClient, ...filters: string[]): Promise<void> {
  const [filter = ''] = filters
  let grants: { qos: number }[]
  try {
    grants = await client.subscribeAsync(filters, { qos: 1, rh: 2 })
  } catch (cause) {
    throw new OperatorError('bad_broker', `the broker refuses the subscription to ${filter} (${messageOf(cause)}): let this client read it`, { cause })
  }
  const granted = grants.find(({ qos }) => qos !== 1)?.qos ?? (grants.length > 0 ? 1 : undefined)
  if (granted !== 1) throw new OperatorError('bad_broker', `the broker grants QoS ${granted ?? 'nothing'} for ${filter}, and parkmq needs QoS 1 so that no message is lost: raise the broker's maximum QoS`)
}

const NO_PROPERTIES: MessageProperties = {}

export function deliveryOf (topic: string, payload: Uint8Array, packet: IPublishPacket, receivedAtMs: number): Delivery {
  return { topic, payload, qos: packet.qos, retain: packet.retain, dup: packet.dup, properties: propertiesOf(packet), receivedAtMs }
}

function propertiesOf ({ properties: given }: IPublishPacket): MessageProperties {
  if (given === undefined) return NO_PROPERTIES
  return {
    ...given.responseTopic === undefined ? {} : { responseTopic: given.responseTopic },
    ...given.correlationData === undefined ? {} : { correlationData: given.correlationData },
    ...given.contentType === undefined ? {} : { contentType: given.contentType },
    ...given.payloadFormatIndicator === undefined ? {} : { payloadFormatIndicator: given.payloadFormatIndicator ? 1 : 0 },
    ...given.messageExpiryInterval === undefined ? {} : { messageExpiryInterval: given.messageExpiryInterval },
    ...given.userProperties === undefined ? {} : { userProperties: given.userProperties }
  }
}

export interface Puback {
  readonly reasonCode?: number
  readonly properties?: { readonly reasonString: string }
}

export const ACCEPTED_PUBACK: Puback = {}

/** The MQTT 5 reason code of a refusal (MQTT 5.0 table 3-4); others are 0x83, implementation specific error. */
const REASON_CODES: Partial<Record<ErrorCode, number>> = {
  bad_message: 0x99, bad_request: 0x99, unknown_bay: 0x99, too_large: 0x99, bad_topic: 0x90, unknown_lot: 0x90,
  unknown_method: 0x90, not_allowed: 0x87, not_yours: 0x87, over_limit: 0x97
}

export function pubackOf (outcome: Outcome): Puback {
  if (outcome.type === 'accepted') return ACCEPTED_PUBACK
  const { code, message } = outcome.refusal
  // A message may quote its sender, and brokers close the connection on control characters in a string, again and again.
  const reasonString = `${code}: ${message}`.replace(/[^\x20-\x7e]/g, '?').slice(0, MAX_REASON_CHARACTERS)
  return { reasonCode: REASON_CODES[code] ?? 0x83, properties: { reasonString } }
}
