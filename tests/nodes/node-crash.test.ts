// Guarantees 1 to 4 where nodes are killed (kill -9), stopped for a while and started again, under load of both: the other goes on, and
// nothing acknowledged is lost or done twice.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { connectTestClient, testFolder } from '../support/app.js'
import { startProcess, type ParkmqProcess } from '../support/process.js'
import { LOAD_SETTINGS, pause, underLoad } from './load.js'
import { ABSENT, serverOfFile, SKIPPED } from './support.js'

const BETWEEN_MS = 1_500
const STOPPED_MS = 5_000

describe.skipIf(ABSENT !== null)(`nodes die under load${SKIPPED}`, () => {
  const server = serverOfFile()

  test('each is killed and comes back, one is stopped for a while: nothing acknowledged is lost, nothing is done twice', { timeout: 120_000 }, async () => {
    const url = await server().database()
    const settings = join(testFolder(), 'parkmq.json')
    writeFileSync(settings, JSON.stringify({ ...LOAD_SETTINGS, logLevel: 'info' }))
    const start = async (node: string, data: string, port = 0): Promise<ParkmqProcess> => (
      await startProcess(data, ['--config', settings, '--database', url, '--node', node, '--port', String(port)])
    )
    const nodes = await Promise.all(['a', 'b'].map(async node => {
      const data = testFolder()
      return { node, data, running: await start(node, data) }
    }))
    const seen = await underLoad({
      nodes: nodes.map(({ running }) => {
        const there = `mqtt://127.0.0.1:${running.port}`
        return { url: there, connect: async options => await connectTestClient(there, options) }
      }),
      query: async text => await server().query(url, text),
      faults: async isBack => {
        for (const one of nodes) {
          await pause(BETWEEN_MS)
          await one.running.kill()
          isBack()
          await pause(BETWEEN_MS)
          one.running = await start(one.node, one.data, one.running.port)
        }
        await pause(BETWEEN_MS)
        nodes[0]?.running.process.kill('SIGSTOP')
        isBack()
        await pause(STOPPED_MS)
        nodes[0]?.running.process.kill('SIGCONT')
        await pause(BETWEEN_MS)
      }
    })
    process.stdout.write(`${seen}\n`)
    expect(seen).toMatch(/acknowledgement: \d+, \d+, \d+ ms/)
    for (const { running } of nodes) expect(await running.stop()).toBe(0)
  })
})
