// Guarantees 1 to 4 where the primary is killed under load of two nodes and its synchronous standby takes over: the nodes find it by
// themselves, and what was acknowledged is there.
import { describe, expect, onTestFinished, test } from 'vitest'
import { startPostgres } from '../support/postgres.js'
import { LOAD_SETTINGS, pause, underLoad } from './load.js'
import { ABSENT, serverOfFile, SKIPPED, startNodes } from './support.js'

/** From the death of the primary to the promotion, in milliseconds. */
const AWAY_MS = 500

describe.skipIf(ABSENT !== null)(`a synchronous standby takes over${SKIPPED}`, () => {
  const primaryOfFile = serverOfFile({ safe: true })

  test('nothing acknowledged is lost, nothing is done twice, and the nodes go on with the new primary', { timeout: 120_000 }, async () => {
    const primary = primaryOfFile()
    const url = new URL(await primary.database())
    const standby = await startPostgres({ safe: true, standbyOf: primary })
    onTestFinished(() => standby.close())
    // The standby is the first of the list: it is not taken as long as it is one.
    const nodes = await startNodes(`postgres://parkmq@127.0.0.1:${standby.port},127.0.0.1:${primary.port}${url.pathname}`, ['a', 'b'], LOAD_SETTINGS)
    url.port = String(standby.port)
    const seen = await underLoad({
      nodes,
      query: async text => await standby.query(url.href, text),
      faults: async isBack => {
        await pause(2_000)
        await primary.kill()
        await pause(AWAY_MS)
        await standby.promote()
        isBack()
        await pause(2_000)
      }
    })
    process.stdout.write(`${seen}\n`)
    expect(seen).toMatch(/acknowledgement: \d+ ms/)
  })
})
