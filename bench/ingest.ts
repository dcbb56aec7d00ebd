// `ingest`: sensor messages as fast as they are committed.
import { median, say } from './figures.js'
import type { Options } from './options.js'
import { startParkmq, startSecureParkmq, startStockAedes } from './processes.js'
import { load, sayLoad } from './publishers.js'
import { rawSubscriber } from './raw-client.js'

const PUBLISHERS = 4
const WINDOW = 64
const MESSAGES = 50_000
const LOTS = ['LOT-A', 'LOT-B', 'LOT-C', 'LOT-D']

const topic = (publisher: number): string => `lots/${LOTS[publisher % LOTS.length]}/sensor`
const payload = (publisher: number, n: number): string => JSON.stringify({ sensor: `gate-${publisher}`, epoch: 1, seq: n, delta: n % 2 === 0 ? -1 : 1 })

/** Durable ingest beside the same aedes merely forwarding to one plain subscriber, in turn. */
export async function ingest ({ rounds = 3, tls }: Options): Promise<void> {
  if (tls?.includes('on')) return await ingestOverTls(rounds)
  say(`ingest: ${PUBLISHERS} publishers, window ${WINDOW}, ${MESSAGES} messages each, QoS 1`)
  const ratios: number[] = []
  for (let round = 1; round <= rounds; round++) {
    const parkmq = await startParkmq()
    const durable = await load({ ports: parkmq, publishers: PUBLISHERS, window: WINDOW, messages: MESSAGES, topic, payload })
    await parkmq.stop()
    const aedes = await startStockAedes()
    let delivered = 0
    let allDelivered = (): void => {}
    const all = new Promise<void>(resolve => { allDelivered = resolve })
    const subscriber = await rawSubscriber(aedes, 'lots/+/sensor', () => { if (++delivered === PUBLISHERS * MESSAGES) allDelivered() })
    const forwarding = await load({ ports: aedes, publishers: PUBLISHERS, window: WINDOW, messages: MESSAGES, topic, payload })
    await all
    subscriber.destroy()
    await aedes.stop()
    ratios.push(durable.perSecond / forwarding.perSecond)
    say(`  round ${round}: parkmq, committed before PUBACK  ${sayLoad(durable)}`)
    say(`           stock aedes, forwarding to one   ${sayLoad(forwarding)}`)
    say(`           ratio ${(durable.perSecond / forwarding.perSecond).toFixed(2)}`)
  }
  say(`  median ratio ${median(ratios).toFixed(2)}`)
}

/** Durable ingest with TLS beside the same without, in turn. The publishers pay for TLS as well, on the same machine. */
async function ingestOverTls (rounds: number): Promise<void> {
  say(`ingest: ${PUBLISHERS} publishers, window ${WINDOW}, ${MESSAGES} messages each, QoS 1, with TLS 1.3 and without`)
  const ratios: number[] = []
  for (let round = 1; round <= rounds; round++) {
    const results = []
    for (const start of [startParkmq, startSecureParkmq]) {
      const parkmq = await start()
      results.push(await load({ ports: parkmq, publishers: PUBLISHERS, window: WINDOW, messages: MESSAGES, topic, payload }))
      await parkmq.stop()
    }
    const [plain, secure] = results
    if (plain === undefined || secure === undefined) return
    ratios.push(secure.perSecond / plain.perSecond)
    say(`  round ${round}: without TLS  ${sayLoad(plain)}`)
    say(`           with TLS     ${sayLoad(secure)}`)
    say(`           ratio ${(secure.perSecond / plain.perSecond).toFixed(2)}`)
  }
  say(`  median ratio ${median(ratios).toFixed(2)}`)
}
