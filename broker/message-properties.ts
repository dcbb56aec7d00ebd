// MQTT 5.0 properties between the wire and the Bus, field by field (docs/decisions/018).
import type { MessageProperties } from '../shared/bus.js'
import type { Writable } from '../shared/writable.js'
import type { Properties, UserProperties } from './packets.js'

const NONE: MessageProperties = Object.freeze({})

/** What a service sees of the properties of a PUBLISH. */
export function toMessageProperties (properties: Properties | undefined): MessageProperties {
  if (properties === undefined) return NONE
  const { responseTopic, correlationData, contentType, payloadFormatIndicator, messageExpiryInterval, userProperties } = properties
  const seen: Writable<MessageProperties> = {}
  if (responseTopic !== undefined) seen.responseTopic = responseTopic
  if (correlationData !== undefined) seen.correlationData = correlationData
  if (contentType !== undefined) seen.contentType = contentType
  if (payloadFormatIndicator !== undefined) seen.payloadFormatIndicator = payloadFormatIndicator ? 1 : 0
  if (messageExpiryInterval !== undefined) seen.messageExpiryInterval = messageExpiryInterval
  if (userProperties !== undefined) seen.userProperties = byName(userProperties)
  return seen
}

/** What services say with many messages, which are kept as retained ones: these share it. */
const shared = new WeakMap<MessageProperties, Properties>()

/** What goes on the wire of what a service says. Frozen properties are the same in every message that has them. */
export function fromMessageProperties (properties: MessageProperties | undefined): Properties | undefined {
  if (properties === undefined) return undefined
  if (!Object.isFrozen(properties) || properties.correlationData !== undefined) return convert(properties)
  let converted = shared.get(properties)
  if (converted === undefined) shared.set(properties, converted = Object.freeze(convert(properties)))
  return converted
}

function convert ({ responseTopic, correlationData, contentType, payloadFormatIndicator, messageExpiryInterval, userProperties }: MessageProperties): Properties {
  const properties: Properties = {}
  if (responseTopic !== undefined) properties.responseTopic = responseTopic
  if (correlationData !== undefined) properties.correlationData = Buffer.from(correlationData)
  if (contentType !== undefined) properties.contentType = contentType
  if (payloadFormatIndicator !== undefined) properties.payloadFormatIndicator = payloadFormatIndicator === 1
  if (messageExpiryInterval !== undefined) properties.messageExpiryInterval = messageExpiryInterval
  if (userProperties !== undefined) properties.userProperties = inPairs(userProperties)
  return properties
}

/** The record has no prototype, so that no name means anything to JavaScript. */
function byName (pairs: UserProperties): Record<string, string | string[]> {
  const into = Object.create(null) as Record<string, string | string[]>
  for (const [name, value] of pairs) {
    const before = into[name]
    if (before === undefined) into[name] = value
    else if (Array.isArray(before)) before.push(value)
    else into[name] = [before, value]
  }
  return into
}

function inPairs (byName: NonNullable<MessageProperties['userProperties']>): UserProperties {
  return Object.entries(byName).flatMap(([name, values]) => [values].flat().map((value): UserProperties[number] => [name, value]))
}
