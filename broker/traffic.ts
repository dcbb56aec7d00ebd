// What went through the broker since it started, in mosquitto's terms. Plain numbers: they change with every packet.
import type { InboundPacket } from './packets.js'

export class Traffic {
  bytesReceived = 0
  bytesSent = 0
  messagesReceived = 0
  messagesSent = 0
  publishReceived = 0
  publishSent = 0
  publishBytesReceived = 0
  publishBytesSent = 0
  /** Connections that were let in at the door, whether a CONNECT came or not. */
  sockets = 0
  /** CONNECT packets. */
  connects = 0
  /** Times that a client had to wait because it published faster than it may. */
  limitedPublishes = 0

  read (bytes: number): void {
    this.bytesReceived += bytes
  }

  wrote (bytes: number): void {
    this.bytesSent += bytes
  }

  received (packet: InboundPacket): void {
    this.messagesReceived++
    if (packet.cmd === 'publish') {
      this.publishReceived++
      this.publishBytesReceived += packet.payload.length
    } else if (packet.cmd === 'connect') {
      this.connects++
    }
  }

  /** Any other packet than PUBLISH goes to a client. */
  answered (): void {
    this.messagesSent++
  }

  /** A PUBLISH goes to a client. */
  published (payloadBytes: number): void {
    this.messagesSent++
    this.publishSent++
    this.publishBytesSent += payloadBytes
  }
}
