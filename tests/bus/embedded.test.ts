// The Bus contract over the embedded broker.
import { startBroker } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'
import { PacketProxy } from '../support/packet-proxy.js'
import { busContract } from './contract.js'

busContract('the embedded broker', {
  acknowledgesTo: 'sender',
  knowsClients: true,
  async open () {
    const clock = new ManualClock()
    const broker = await startBroker({ clock })
    const proxy = await PacketProxy.open(broker.port)
    return {
      bus: broker.bus, clock, metrics: broker.metrics, proxy, root: 'test', url: proxy.url,
      async close () {
        await broker.close()
        await proxy.close()
      }
    }
  }
})
