// `ingest --tls off,on`: what TLS costs sensor messages.
import { median, say } from './figures.js'
import { startParkmq, startSecureParkmq } from './processes.js'
import { load, sayLoad } from './publishers.js'

const PUBLISHERS = 4
const WINDOW = 64
const MESSAGES = 50_000
const LOTS = ['LOT-A', 'LOT-B', 'LOT-C', 'LOT-D']

const topic = (publisher: number): string => `lots/${LOTS[publisher % LOTS.length]}/sensor`
const payload = (publisher: number, n: number): string => JSON.stringify({ sensor: `gate-${publisher}`, epoch: 1, seq: n, delta: n % 2 === 0 ? -1 : 1 })

/** Durable ingest with TLS beside the same without, in turn. The publishers pay for TLS as well, on the same machine. */
export async function ingestOverTls (rounds: number): Promise<void> {
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
