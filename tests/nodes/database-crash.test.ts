// Guarantees 1 to 4 where the database is killed (kill -9 of every process of it) under load of two nodes and started again.
import { describe, expect, test } from 'vitest'
import { LOAD_SETTINGS, pause, underLoad } from './load.js'
import { ABSENT, serverOfFile, SKIPPED, startNodes } from './support.js'

/** When the database is killed, and for how long it is away each time, in milliseconds. */
const KILLS = [{ afterMs: 1_500, awayMs: 300 }, { afterMs: 1_500, awayMs: 1_000 }, { afterMs: 1_500, awayMs: 0 }]
const AFTER_MS = 1_500

describe.skipIf(ABSENT !== null)(`the database dies under load${SKIPPED}`, () => {
  const server = serverOfFile({ safe: true })

  test(`${KILLS.length} times: nothing acknowledged is lost, nothing is done twice`, { timeout: 120_000 }, async () => {
    const url = await server().database()
    const seen = await underLoad({
      nodes: await startNodes(url, ['a', 'b'], LOAD_SETTINGS),
      query: async text => await server().query(url, text),
      faults: async isBack => {
        for (const { afterMs, awayMs } of KILLS) {
          await pause(afterMs)
          await server().kill()
          await pause(awayMs)
          await server().start()
          isBack()
        }
        await pause(AFTER_MS)
      }
    })
    process.stdout.write(`${seen}\n`)
    expect(seen).toMatch(/acknowledgement: \d+, \d+, \d+ ms/)
  })
})
