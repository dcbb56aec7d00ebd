import { expect, onTestFinished, test } from 'vitest'
import { startAnswering } from '../../services/reservation/service.js'
import type { Bus } from '../../shared/bus.js'
import { systemClock } from '../../shared/clock.js'
import { Config } from '../../shared/config.js'
import { createLog } from '../../shared/log.js'
import { createMetrics } from '../../shared/metrics.js'
import { openLedger } from '../../storage/open.js'
import { testFolder } from '../support/app.js'

test('who cannot take requests, since its connection is lost while it begins, listens no more', async () => {
  const config = Config.parse({ data: testFolder(), lots: [] })
  const metrics = createMetrics()
  const ledger = await openLedger({ config, clock: systemClock, metrics })
  onTestFinished(() => ledger.close())
  let listening = 0
  const counted = <L>(listen: (listener: L) => () => void) => (listener: L): (() => void) => {
    const unlisten = listen(listener)
    listening++
    return () => {
      listening--
      unlisten()
    }
  }
  ledger.feed.listen = counted(ledger.feed.listen.bind(ledger.feed))
  ledger.notices.listen = counted(ledger.notices.listen.bind(ledger.notices))
  const bus: Bus = { publish: async () => {}, consume: async () => { throw new Error('the connection is lost') } }
  const begun = startAnswering({ bus, ledger, clock: systemClock, log: createLog('silent', false), metrics, config, version: '1' })
  await expect(begun).rejects.toThrow('the connection is lost')
  expect(listening).toBe(0)
})
