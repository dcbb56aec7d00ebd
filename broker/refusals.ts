// What a service's refusal is in MQTT 5.0: the reason code of PUBACK and PUBREC (sections 3.4.2.1 and 3.5.2.1).
import type { ErrorCode, Refusal } from '../shared/errors.js'
import type { RefusedPublish } from './guard.js'
import { Reason } from './reason-codes.js'

/** Codes without an entry are Implementation specific error, 0x83. */
const REASONS: Partial<Record<ErrorCode, Reason>> = {
  bad_message: Reason.payloadFormatInvalid,
  bad_request: Reason.payloadFormatInvalid,
  unknown_bay: Reason.payloadFormatInvalid,
  too_large: Reason.payloadFormatInvalid,
  unknown_lot: Reason.topicNameInvalid,
  unknown_method: Reason.topicNameInvalid,
  bad_topic: Reason.topicNameInvalid,
  not_allowed: Reason.notAuthorized,
  not_yours: Reason.notAuthorized,
  over_limit: Reason.quotaExceeded
}

/** Characters of a topic or message that go into a Reason String or the log. */
const SHORT = 200

/** [MQTT-1.5.4-1] [MQTT-1.5.4-2] A message quotes what a client sent. */
const NOT_IN_A_STRING = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/gu

/** Why a connection is closed (0x89) that has waited too long for the disk. */
export const UNWRITTEN = 'unavailable: sessions cannot be stored now; send what is not acknowledged again'

export function refusalOf ({ code, message }: Refusal): RefusedPublish {
  return { reason: REASONS[code] ?? Reason.implementationSpecific, words: `${code}: ${shortened(message).replace(NOT_IN_A_STRING, '?')}` }
}

/** The beginning of a text that a client made and may be long. */
export function shortened (text: string): string {
  return text.length <= SHORT ? text : `${text.slice(0, SHORT)}...`
}
