// Connections that do nothing but wait: each subscribes to the `free` of one lot, as a display does that nothing changes.
import type { Duplex } from 'node:stream'
import { SUBACK, subscribePacket } from './mqtt-bytes.js'
import { rawConnect, readPackets, within, type Ports } from './raw-client.js'

const CONNECT_AT_ONCE = 50

export class IdleClients {
  readonly #streams: Duplex[] = []
  readonly #closed: string[] = []

  get count (): number { return this.#streams.length }
  /** Why connections ended, one entry for each. */
  get closed (): readonly string[] { return this.#closed }

  /** Connects until there are `count`; those that are there stay. */
  async grow (ports: Ports, filter: string, count: number): Promise<void> {
    while (this.#streams.length < count) {
      const first = this.#streams.length
      const some = Array.from({ length: Math.min(CONNECT_AT_ONCE, count - first) }, (_, i) => this.#connect(ports, filter, first + i))
      this.#streams.push(...await Promise.all(some))
    }
  }

  close (): void {
    for (const stream of this.#streams) stream.destroy()
  }

  async #connect (ports: Ports, filter: string, n: number): Promise<Duplex> {
    const stream = await rawConnect(ports, { clientId: `bench-idle-${n}`, version: 4, clean: true })
    stream.on('error', error => { this.#closed.push(error.message) })
    stream.once('close', () => { this.#closed.push('closed by the broker') })
    const granted = new Promise<void>(resolve => readPackets(stream, head => { if (head >> 4 === SUBACK) resolve() }))
    stream.write(subscribePacket(filter, 1, 4))
    await within(granted, 'SUBACK')
    return stream
  }
}
