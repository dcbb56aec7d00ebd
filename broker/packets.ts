// The packets that a client may send, as the decoder makes them and aedes takes them (the shapes are mqtt-packet's).
// Every value in them is checked: strings are valid UTF-8 without U+0000, properties belong to their packet.

export type Qos = 0 | 1 | 2

/** Names and values in the order they came; a name may come again. */
export type UserProperties = [name: string, value: string][]

/** Every MQTT 5.0 property that a client may send, by mqtt-packet's names. Bytes that are flags are booleans. */
export interface Properties {
  payloadFormatIndicator?: boolean
  messageExpiryInterval?: number
  contentType?: string
  responseTopic?: string
  correlationData?: Buffer
  subscriptionIdentifier?: number
  sessionExpiryInterval?: number
  authenticationMethod?: string
  authenticationData?: Buffer
  requestProblemInformation?: boolean
  willDelayInterval?: number
  requestResponseInformation?: boolean
  reasonString?: string
  receiveMaximum?: number
  topicAliasMaximum?: number
  topicAlias?: number
  userProperties?: UserProperties
  maximumPacketSize?: number
}

interface Base {
  /** Remaining Length: bytes after the fixed header. */
  readonly length: number
}

export interface Will {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: Qos
  readonly retain: boolean
  properties?: Properties | undefined
}

export interface ConnectPacket extends Base {
  readonly cmd: 'connect'
  readonly protocolId: 'MQTT' | 'MQIsdp'
  readonly protocolVersion: 3 | 4 | 5
  readonly bridgeMode: boolean
  readonly clean: boolean
  /** Seconds; 0 is none. */
  readonly keepalive: number
  readonly clientId: string
  will: Will | undefined
  readonly username: string | undefined
  readonly password: Buffer | undefined
  readonly properties: Properties | undefined
}

export interface PublishPacket extends Base {
  readonly cmd: 'publish'
  topic: string
  payload: Buffer
  readonly qos: Qos
  readonly retain: boolean
  readonly dup: boolean
  /** Absent for QoS 0, never 0. */
  readonly messageId: number | undefined
  readonly properties: Properties | undefined
}

export interface AckPacket extends Base {
  readonly cmd: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp'
  readonly messageId: number
  readonly reasonCode: number
  readonly properties: Properties | undefined
}

export interface Subscription {
  readonly topic: string
  qos: number
  /** No Local, Retain As Published, Retain Handling: absent before MQTT 5.0, except for bridges. */
  nl?: boolean
  rap?: boolean
  rh?: number
}

export interface SubscribePacket extends Base {
  readonly cmd: 'subscribe'
  readonly messageId: number
  readonly subscriptions: Subscription[]
  readonly properties: Properties | undefined
}

export interface UnsubscribePacket extends Base {
  readonly cmd: 'unsubscribe'
  readonly messageId: number
  readonly unsubscriptions: string[]
  readonly properties: Properties | undefined
}

export interface PingPacket extends Base {
  readonly cmd: 'pingreq'
}

export interface DisconnectPacket extends Base {
  readonly cmd: 'disconnect'
  readonly reasonCode: number
  readonly properties: Properties | undefined
}

export type InboundPacket =
  | ConnectPacket | PublishPacket | AckPacket | SubscribePacket | UnsubscribePacket | PingPacket | DisconnectPacket
