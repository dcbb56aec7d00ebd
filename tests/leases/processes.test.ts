// Guarantees 1 to 4 where several processes share the lots of one external broker, under load, while they are killed, stopped, ended,
// joined by another, and the broker is started anew: what the broker has acknowledged is counted once, a place is given once, and
// nobody ever sees an older state of a lot after a newer one.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { LOAD_SETTINGS, pause, underLoad } from '../nodes/load.js'
import { connectTestClient, testFolder } from '../support/app.js'
import { startProcess, type ParkmqProcess } from '../support/process.js'
import { ABSENT, serversOfFile, SKIPPED, untilShared, Watched } from './support.js'

const BETWEEN_MS = 700

describe.skipIf(ABSENT !== null)(`processes on one broker${SKIPPED}`, () => {
  const servers = serversOfFile()

  test('killed, stopped and gone on, ended, joined, and the broker started anew: nothing acknowledged is lost, nothing is done twice, nothing old is shown', { timeout: 120_000 }, async () => {
    const { mosquitto, postgres } = servers()
    const database = await postgres.database()
    const settings = join(testFolder(), 'parkmq.json')
    writeFileSync(settings, JSON.stringify({ ...LOAD_SETTINGS, logLevel: 'info', times: { leaseMs: 1_000 } }))
    const start = async (node: string): Promise<ParkmqProcess> => await startProcess(testFolder(), ['--config', settings, '--database', database, '--broker', mosquitto.url, '--node', node])
    const shared = async (...nodes: string[]): Promise<void> => await untilShared(servers(), database, nodes)
    const running = { a: await start('a'), b: await start('b') }
    await shared('a', 'b')
    const ownerOfRequests = async (): Promise<'a' | 'b'> => (
      (await postgres.query<{ node: 'a' | 'b' }>(database, 'select node from leases where share = \'requests\''))[0]?.node ?? 'a'
    )
    const other = (node: 'a' | 'b'): string => node === 'a' ? 'b' : 'a'
    const watched = await Watched.start(await connectTestClient(mosquitto.url, { clientId: 'watcher', clean: false, sessionExpirySeconds: 600, reconnect: true }))
    const [{ last } = { last: 0 }] = await postgres.query<{ last: number }>(database, 'select coalesce(max(id), 0)::int as last from audit')
    const client = { url: mosquitto.url, connect: async () => await connectTestClient(mosquitto.url) }

    const seen = await underLoad({
      nodes: [client, client],
      isLater: true,
      query: async text => await postgres.query(database, text),
      faults: async isBack => {
        // Each time the one that has the requests, besides its lots.
        await pause(BETWEEN_MS)
        const killed = await ownerOfRequests()
        await running[killed].kill()
        isBack()
        await shared(other(killed))
        await pause(BETWEEN_MS)
        running[killed] = await start(killed)
        await shared('a', 'b')

        // Until all that it had is another's; then it goes on with what it believes.
        const stopped = await ownerOfRequests()
        running[stopped].process.kill('SIGSTOP')
        isBack()
        await shared(other(stopped))
        await pause(BETWEEN_MS)
        running[stopped].process.kill('SIGCONT')
        await shared('a', 'b')

        const c = await start('c')
        await shared('a', 'b', 'c')
        await pause(BETWEEN_MS)
        isBack()
        expect(await c.stop()).toBe(0)
        await shared('a', 'b')

        await mosquitto.stop()
        await mosquitto.start()
        isBack()
        await shared('a', 'b')
        await pause(BETWEEN_MS)
      }
    })
    process.stdout.write(`${seen}\n`)
    expect(watched.older).toEqual([])
    await expect.poll(async () => await watched.untold(servers(), database, last), { timeout: 10_000 }).toEqual([])
    for (const one of Object.values(running)) expect(await one.stop()).toBe(0)
  })
})
