// Clients that live through the death of the broker as the standard asks: they keep the state of their session, connect
// again and send again what was not acknowledged. They note what was acknowledged and what came, for a test to compare.
import { connect, type Socket } from 'node:net'
import mqttPacket, { type IConnackPacket, type IConnectPacket, type Packet } from 'mqtt-packet'

type Qos = 1 | 2
/** A packet without what the client fills in by itself. */
type Ask = { readonly cmd: 'subscribe' | 'unsubscribe', readonly filter: string }

export interface StubbornParts {
  readonly clientId: string
  /** Most messages on their way to the broker. */
  readonly window?: number
  /** Default 10,000; with 0 it begins anew at every connection. */
  readonly sessionExpirySeconds?: number
  readonly will?: IConnectPacket['will']
  /** Told of every acknowledgement of a message that this client published. */
  readonly onAcknowledged?: () => void
}

interface Outgoing {
  readonly topic: string
  readonly payload: string
  readonly qos: Qos
  readonly retain: boolean
  /** QoS 2: PUBREC has come. */
  received: boolean
}

export class StubbornClient {
  readonly parts: StubbornParts
  /** Payloads of the messages that the broker has taken over: PUBACK, or PUBREC. */
  readonly acknowledged: string[] = []
  /** Payloads of what came, in order; a QoS 2 message once. */
  readonly received: { readonly topic: string, readonly payload: string, readonly qos: number, readonly retain: boolean }[] = []
  /** Filters that the broker has granted and not taken back. */
  readonly subscriptions = new Set<string>()
  /** The subscription or its end that is on its way. */
  asked: Ask | null = null
  connack: IConnackPacket | null = null
  /** Why the broker closed the connection, if it said so. */
  disconnectReason: number | null = null
  readonly #outgoing = new Map<number, Outgoing>()
  readonly #incoming = new Set<number>()
  #waiting: Outgoing[] = []
  #socket: Socket | null = null
  #lastId = 0
  #wake: (() => void)[] = []

  constructor (parts: StubbornParts) {
    this.parts = parts
  }

  /** Messages that are not at their end. */
  get unfinished (): number { return this.#outgoing.size + this.#waiting.length }

  /** Connects and resolves with CONNACK; what was on its way is sent again. */
  async connect (port: number): Promise<IConnackPacket> {
    const socket = this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    const parser = mqttPacket.parser({ protocolVersion: 5 })
    this.connack = this.disconnectReason = null
    parser.on('packet', packet => {
      if (this.#socket === socket) this.#handle(packet)
      this.#notify()
    })
    socket.on('data', data => parser.parse(data))
    socket.on('error', () => {})
    socket.on('close', () => {
      if (this.#socket === socket) this.#socket = null
      this.#notify()
    })
    this.#send({
      cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clean: false, clientId: this.parts.clientId, keepalive: 60,
      properties: { sessionExpiryInterval: this.parts.sessionExpirySeconds ?? 10_000 }, ...(this.parts.will && { will: this.parts.will })
    })
    await this.until(() => this.connack !== null || this.#socket !== socket)
    if (this.connack === null) throw new Error(`${this.parts.clientId} was not let in`)
    return this.connack
  }

  get isConnected (): boolean { return this.#socket !== null }

  publish (topic: string, payload: string, qos: Qos, retain = false): void {
    this.#waiting.push({ topic, payload, qos, retain, received: false })
    this.#fill()
  }

  /** One at a time; resolves when it is acknowledged or the connection is gone. */
  async ask (ask: Ask, qos: 0 | 1 | 2 = 2): Promise<void> {
    this.asked = ask
    const messageId = 65_000
    if (ask.cmd === 'subscribe') this.#send({ cmd: 'subscribe', messageId, subscriptions: [{ topic: ask.filter, qos }] })
    else this.#send({ cmd: 'unsubscribe', messageId, unsubscriptions: [ask.filter] })
    await this.until(() => this.asked === null || !this.isConnected)
  }

  /** Says goodbye, which takes the will back. */
  async leave (): Promise<void> {
    this.#send({ cmd: 'disconnect', reasonCode: 0 })
    await this.until(() => !this.isConnected)
  }

  destroy (): void {
    this.#socket?.destroy()
  }

  /** Resolves as soon as it holds; looked at whenever something came. */
  async until (holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>(resolve => this.#wake.push(resolve))
  }

  #handle (packet: Packet): void {
    const messageId = 'messageId' in packet ? packet.messageId ?? 0 : 0
    const outgoing = this.#outgoing.get(messageId)
    switch (packet.cmd) {
      case 'connack':
        this.connack = packet
        for (const [id, one] of this.#outgoing) this.#transmit(id, one, true)
        this.#fill()
        break
      case 'puback': case 'pubrec':
        if (outgoing === undefined || outgoing.received) break
        if ((packet.reasonCode ?? 0) >= 0x80) throw new Error(`${outgoing.topic} was refused with ${packet.reasonCode}`)
        this.acknowledged.push(outgoing.payload)
        outgoing.received = true
        if (packet.cmd === 'pubrec') this.#send({ cmd: 'pubrel', messageId, reasonCode: 0 })
        else this.#outgoing.delete(messageId)
        this.parts.onAcknowledged?.()
        this.#fill()
        break
      case 'pubcomp':
        this.#outgoing.delete(messageId)
        this.#fill()
        break
      case 'publish':
        // The same identifier before PUBREL is the same message. [MQTT-4.3.3-10]
        if (packet.qos < 2 || !this.#incoming.has(messageId)) this.received.push({ topic: packet.topic, payload: packet.payload.toString(), qos: packet.qos, retain: packet.retain })
        if (packet.qos === 2) this.#incoming.add(messageId)
        if (packet.qos > 0) this.#send({ cmd: packet.qos === 1 ? 'puback' : 'pubrec', messageId, reasonCode: 0 })
        break
      case 'pubrel':
        this.#incoming.delete(messageId)
        this.#send({ cmd: 'pubcomp', messageId, reasonCode: 0 })
        break
      case 'suback': case 'unsuback':
        if (this.asked?.cmd === 'subscribe') this.subscriptions.add(this.asked.filter)
        else if (this.asked !== null) this.subscriptions.delete(this.asked.filter)
        this.asked = null
        break
      case 'disconnect':
        this.disconnectReason = packet.reasonCode ?? 0
        break
      case 'connect': case 'subscribe': case 'unsubscribe': case 'pingreq': case 'pingresp': case 'auth':
        throw new Error(`the broker sent ${packet.cmd}`)
    }
  }

  #fill (): void {
    while (this.connack !== null && this.isConnected && this.#outgoing.size < (this.parts.window ?? 20)) {
      const next = this.#waiting.shift()
      if (next === undefined) return
      do this.#lastId = this.#lastId % 60_000 + 1
      while (this.#outgoing.has(this.#lastId))
      this.#outgoing.set(this.#lastId, next)
      this.#transmit(this.#lastId, next, false)
    }
  }

  #transmit (messageId: number, { topic, payload, qos, retain, received }: Outgoing, dup: boolean): void {
    if (received) this.#send({ cmd: 'pubrel', messageId, reasonCode: 0 })
    else this.#send({ cmd: 'publish', topic, payload, qos, retain, dup, messageId })
  }

  #send (packet: Packet): void {
    this.#socket?.write(mqttPacket.generate(packet, { protocolVersion: 5 }))
  }

  #notify (): void {
    for (const wake of this.#wake.splice(0)) wake()
  }
}
