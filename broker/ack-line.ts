// The acknowledgements that one connection's messages wait for, in the order of the messages: MQTT wants PUBACK and
// PUBREC in that order, whichever message is settled first. [MQTT-4.6.0-2] [MQTT-4.6.0-3]
import type { RefusedPublish } from './guard.js'
import type { PublishPacket } from './packets.js'

/** A PUBLISH whose acknowledgement is due, in its place in the line. */
interface Due {
  readonly packet: PublishPacket
  answered: boolean
  refused: RefusedPublish | null
}

export class AckLine {
  readonly #write: (packet: PublishPacket, refused: RefusedPublish | null) => void
  readonly #written: () => void
  #due: Due[] = []
  #isHeld = false

  /** `write` is called with each message and its answer when those before it are written, and `written` after the last of them. */
  constructor (write: (packet: PublishPacket, refused: RefusedPublish | null) => void, written: () => void = () => {}) {
    this.#write = write
    this.#written = written
  }

  /** Acknowledgements that are due. */
  get length (): number { return this.#due.length }

  /** Whether acknowledgements wait until `hold`'s result is called. */
  get isHeld (): boolean { return this.#isHeld }

  /** A message with QoS above 0 will be acknowledged, in its place among the others. */
  expect (packet: PublishPacket): void {
    this.#due.push({ packet, answered: false, refused: null })
  }

  /** The answer to a message that is expected; one of QoS 0 needs none. */
  answer (packet: PublishPacket, refused: RefusedPublish | null): void {
    if (packet.qos === 0) return
    const due = this.#due[0]?.packet === packet ? this.#due[0] : this.#due.find(one => one.packet === packet)
    if (due === undefined) return
    due.answered = true
    due.refused = refused
    if (!this.#isHeld) this.#goOn()
  }

  /** Nothing is written until what this returns is called: whoever is to send less gets to know it by that. */
  hold (): () => void {
    this.#isHeld = true
    return () => {
      this.#isHeld = false
      this.#goOn()
    }
  }

  #goOn (): void {
    let answered = 0
    for (let first = this.#due[0]; first?.answered; first = this.#due[answered]) {
      this.#write(first.packet, first.refused)
      answered++
    }
    if (answered === 0) return
    this.#due.splice(0, answered)
    this.#written()
  }
}
