// The Bus contract over mosquitto, and what only a Bus over an external broker has to do.
import { pino } from 'pino'
import { afterAll, beforeAll, describe } from 'vitest'
import { createMetrics } from '../../shared/metrics.js'
import { connectMqttBus } from '../../shared/mqtt-bus.js'
import { ManualClock } from '../support/clock.js'
import { startMosquitto, whyNoMosquitto, type Mosquitto } from '../support/mosquitto.js'
import { PacketProxy } from '../support/packet-proxy.js'
import { busContract } from './contract.js'

let mosquitto: Mosquitto
let tests = 0

describe.skipIf(whyNoMosquitto() !== null)('with mosquitto', () => {
  beforeAll(async () => { mosquitto = await startMosquitto() })
  afterAll(async () => { await mosquitto.close() })

  busContract('mosquitto', {
    acknowledgesTo: 'broker',
    knowsClients: false,
    async open () {
      const root = `test-${++tests}`
      const clock = new ManualClock()
      const metrics = createMetrics()
      const proxy = await PacketProxy.open(mosquitto.port)
      const { bus, close } = await connectMqttBus({ url: proxy.url, clientId: root, clock, log: pino({ level: 'silent' }), metrics })
      return {
        bus, clock, metrics, proxy, root, url: mosquitto.url,
        async close () {
          await close()
          await proxy.close()
        }
      }
    }
  })
})
