// The broker's engine over streams in memory, for races and peers that real sockets cannot be made to show.
import { Duplex } from 'node:stream'
import mqttPacket, { type IConnectPacket } from 'mqtt-packet'
import { pino } from 'pino'
import type { AedesClient } from '../../broker/aedes-internals.js'
import type { Connection } from '../../broker/connection.js'
import { createEngine, type Engine } from '../../broker/engine.js'
import { systemClock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import { createMetrics } from '../../shared/metrics.js'
import { afterThisTest } from './broker.js'

/** One turn of the event loop. */
export const turn = async (): Promise<void> => await new Promise(resolve => setImmediate(resolve))

/** An engine without doors, closed after the test. */
export async function memoryBroker (): Promise<Engine> {
  const engine = await createEngine({ config: Config.parse({}), clock: systemClock, log: pino({ level: 'silent' }), metrics: createMetrics() })
  afterThisTest(() => engine.close())
  return engine
}

export interface MemoryPeer {
  readonly stream: Duplex
  readonly client: AedesClient
  readonly connection: Connection
  /** Stops or goes on reading what the broker writes. */
  readonly read: (reading: boolean) => void
}

/** A peer that has sent CONNECT (MQTT 5.0, client id `c`, Clean Start 1 unless told otherwise). */
export function connectInMemory (engine: Engine, options: Partial<IConnectPacket> = {}): MemoryPeer {
  let reading = true
  let written: (() => void) | null = null
  const stream = new Duplex({
    writableHighWaterMark: 16,
    read () {},
    write (_chunk, _encoding, done) {
      if (reading) done()
      else written = done
    }
  })
  const connection = engine.accept(stream, 'memory')
  stream.push(mqttPacket.generate({ cmd: 'connect', clientId: 'c', clean: true, keepalive: 0, protocolId: 'MQTT', protocolVersion: 5, ...options }, { protocolVersion: 5 }))
  afterThisTest(() => { stream.destroy() })
  return {
    stream, client: connection.client, connection,
    read: value => {
      reading = value
      if (reading) written?.()
    }
  }
}

/** Resolves when the peer is let in. */
export async function admitted ({ connection }: MemoryPeer): Promise<void> {
  while (connection.session === null) await turn()
}
