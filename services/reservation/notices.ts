// Sends the notices that the ledger keeps: what became of those who waited. They leave after the commit that they tell of,
// at least once, in their order, across restarts.
import type { Bus } from '../../shared/bus.js'
import type { Clock } from '../../shared/clock.js'
import type { Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import { Pump } from '../../shared/pump.js'
import { publishReply } from '../../shared/request-envelope.js'
import type { Ledger } from '../../storage/ledger.js'
import { forgetNotices, noticesDue } from '../../storage/waiting.js'

const AT_ONCE = 200

export interface NoticesParts {
  readonly bus: Bus
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
}

/** Sends what is there, and from now on what comes. */
export function startNotices ({ bus, ledger, clock, log, metrics }: NoticesParts): { stop (): Promise<void> } {
  let failing = false
  const send = async (): Promise<void> => {
    for (;;) {
      const notices = await ledger.read(async database => await noticesDue(database, AT_ONCE))
      if (notices.length === 0) {
        failing = false
        return
      }
      await Promise.all(notices.map(({ address, text }) => publishReply(bus, address, text)))
      metrics.published.inc({ kind: 'notice' }, notices.length)
      await ledger.transact('notices', async tx => await forgetNotices(tx.database, notices.map(notice => notice.id)))
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
      await pump.stop()
    }
  }
}
