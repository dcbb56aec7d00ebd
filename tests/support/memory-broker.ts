// The parts of the embedded broker over streams in memory, for races and peers that real sockets cannot be made to show.
import { Duplex } from 'node:stream'
import { Aedes } from 'aedes'
import mqttPacket, { type IConnectPacket } from 'mqtt-packet'
import { pino } from 'pino'
import { checkAedes, type AedesBroker, type AedesClient } from '../../broker/aedes-internals.js'
import { Connection } from '../../broker/connection.js'
import { Qos2Receiver } from '../../broker/qos2.js'
import { Report } from '../../broker/report.js'
import { beginSession, correctSessions } from '../../broker/sessions.js'
import { systemClock } from '../../shared/clock.js'
import { createMetrics } from '../../shared/metrics.js'
import { afterThisTest } from './broker.js'

/** One turn of the event loop. */
export const turn = async (): Promise<void> => await new Promise(resolve => setImmediate(resolve))

/** aedes with the corrections of sessions, closed after the test. */
export async function memoryBroker (): Promise<AedesBroker> {
  const aedes = checkAedes(await Aedes.createBroker())
  const received = new Qos2Receiver()
  correctSessions({ aedes, received, onSubscriptionsGone: () => {} })
  aedes.authenticate = (client, _user, _password, done) => {
    beginSession(client as unknown as AedesClient, received)
    done(null, true)
  }
  afterThisTest(() => new Promise<void>(resolve => aedes.close(resolve)))
  return aedes
}

export interface MemoryPeer {
  readonly stream: Duplex
  readonly client: AedesClient
  readonly connection: Connection
  /** Stops or goes on reading what the broker writes. */
  readonly read: (reading: boolean) => void
}

/** A peer that has sent CONNECT (MQTT 5.0, Clean Start 1 unless told otherwise). */
export function connectInMemory (aedes: AedesBroker, options: Partial<IConnectPacket> = {}): MemoryPeer {
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
  const client = aedes.handle(stream) as unknown as AedesClient
  const report = new Report(pino({ level: 'silent' }), systemClock, createMetrics())
  const connection = new Connection({ client, address: 'memory', maxPacketBytes: 100_000, report, onRelease: () => {} })
  stream.push(mqttPacket.generate({ cmd: 'connect', clientId: 'c', clean: true, keepalive: 0, protocolId: 'MQTT', protocolVersion: 5, ...options }, { protocolVersion: 5 }))
  afterThisTest(() => { stream.destroy() })
  return {
    stream, client, connection,
    read: value => {
      reading = value
      if (reading) written?.()
    }
  }
}
