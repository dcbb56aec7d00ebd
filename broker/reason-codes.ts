// The MQTT 5.0 reason codes (section 2.4) that this broker sends, by name. Numbers of the protocol stand here only.

export const Reason = {
  success: 0x00,
  noSubscriptionExisted: 0x11,
  unspecified: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  implementationSpecific: 0x83,
  unsupportedProtocolVersion: 0x84,
  clientIdNotValid: 0x85,
  badUserNameOrPassword: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  topicFilterInvalid: 0x8f,
  topicNameInvalid: 0x90,
  packetIdentifierNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  useAnotherServer: 0x9c
} as const

export type Reason = (typeof Reason)[keyof typeof Reason]

/** `0x81` for 129: how codes stand in metrics and logs. */
export function hexOf (reason: Reason): string {
  return `0x${reason.toString(16).padStart(2, '0')}`
}

/** What a client did wrong, with the reason code that it is told. Thrown while decoding, a value everywhere else. */
export class PacketError extends Error {
  readonly reason: Reason
  constructor (reason: Reason, message: string) {
    super(message)
    this.name = 'PacketError'
    this.reason = reason
  }
}
