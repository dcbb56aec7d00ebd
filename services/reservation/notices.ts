// Sends the notices that the ledger keeps: what became of those who waited. They leave after the commit that they tell of,
// at least once, in their order, across restarts. Where several nodes share a ledger, each sends all of them: whom it reaches, only
// its broker knows.
import type { Bus } from '../../shared/bus.js'
import type { Clock, Timer } from '../../shared/clock.js'
import type { Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import { Pump } from '../../shared/pump.js'
import { publishReply } from '../../shared/request-envelope.js'
import type { Ledger } from '../../storage/ledger.js'
import type { Fence } from '../../storage/leases.js'
import { noticesOfNode, passNotices } from '../../storage/node-rows.js'
import { ask } from '../../storage/questions.js'
import { forgetNotices, noticesDue, type Notice } from '../../storage/waiting.js'

const AT_ONCE = 200
/** How long notices wait that another node may still put one before, in milliseconds. */
const SETTLE_MS = 20

export interface NoticesParts {
  readonly bus: Bus
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly fence?: Fence | undefined
}

/** Sends what is there, and from now on what comes. */
export function startNotices ({ bus, ledger, clock, log, metrics, fence }: NoticesParts): { stop (): Promise<void> } {
  let failing = false
  let settling: Timer | null = null
  const { nodes } = ledger
  const due = async (): Promise<Notice[]> => {
    if (nodes === null) return await ledger.read(async database => await noticesDue(database, AT_ONCE))
    const { upTo, isAll, answer } = await ledger.readSettled('notices', database => noticesOfNode(database, nodes.teller, AT_ONCE))
    const notices = answer.filter(({ id }) => id <= upTo)
    if (notices.length === 0 && !isAll) {
      settling ??= clock.after(SETTLE_MS, () => {
        settling = null
        pump.wake()
      })
    }
    return notices
  }
  const sent = async (ids: readonly number[]): Promise<void> => await ledger.transact('notices', async tx => {
    if (fence) await ask(tx.database, fence(tx.database))
    if (nodes === null) await forgetNotices(tx.database, ids)
    else await passNotices(tx.database, nodes.teller, Math.max(...ids))
  })
  const send = async (): Promise<void> => {
    for (;;) {
      const notices = await due()
      if (notices.length === 0) {
        failing = false
        return
      }
      await Promise.all(notices.map(({ address, text }) => publishReply(bus, address, text)))
      metrics.published.inc({ kind: 'notice' }, notices.length)
      await sent(notices.map(notice => notice.id))
    }
  }
  const pump = new Pump({
    clock,
    work: send,
    onError: err => {
      metrics.publishFailures.inc({ kind: 'notice' })
      // Said once for a fault that lasts, not at every try.
      if (!failing) log.error({ err }, 'notices could not be sent; trying again')
      failing = true
    }
  })
  const unlisten = ledger.notices.listen(() => pump.wake())
  pump.wake()
  return {
    async stop () {
      unlisten()
      settling?.cancel()
      await pump.stop()
    }
  }
}
