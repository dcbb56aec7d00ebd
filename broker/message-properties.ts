// MQTT 5.0 properties between the wire and the Bus.
import type { MessageProperties } from '../shared/bus.js'
import type { Properties, UserProperties } from './packets.js'

const NONE: MessageProperties = Object.freeze({})

/** What a service sees of the properties of a PUBLISH. */
export function toMessageProperties (properties: Properties | undefined): MessageProperties {
  if (properties === undefined) return NONE
  const { responseTopic, correlationData, contentType, payloadFormatIndicator, messageExpiryInterval, userProperties } = properties
  return {
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlationData !== undefined && { correlationData }),
    ...(contentType !== undefined && { contentType }),
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator: payloadFormatIndicator ? 1 : 0 }),
    ...(messageExpiryInterval !== undefined && { messageExpiryInterval }),
    ...(userProperties !== undefined && { userProperties: byName(userProperties) })
  }
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

function convert (properties: MessageProperties): Properties {
  const { correlationData, payloadFormatIndicator, userProperties, ...same } = properties
  return {
    ...same,
    ...(correlationData !== undefined && { correlationData: Buffer.from(correlationData) }),
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator: payloadFormatIndicator === 1 }),
    ...(userProperties !== undefined && { userProperties: inPairs(userProperties) })
  }
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
