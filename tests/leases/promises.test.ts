// Promises to those who wait, where several processes share a broker: whoever has the requests tells them, once, also when a node with a
// broker of its own tells them there; and they are forgotten when all have.
import { describe, expect, test } from 'vitest'
import { connectTestClient, json, startTestApp } from '../support/app.js'
import { ABSENT, serversOfFile, SKIPPED } from './support.js'

describe.skipIf(ABSENT !== null)(`promises of processes on one broker${SKIPPED}`, () => {
  const servers = serversOfFile()

  test('who waits is told once, by the broker of the processes and by that of a node, and a process that ends hands the rest on', async () => {
    const { postgres, mosquitto } = servers()
    const database = await postgres.database()
    const settings = { database, lots: [{ lot: 'W', capacity: 1 }], brokerPrefix: 'promises' }
    const start = async (node: string): Promise<Awaited<ReturnType<typeof startTestApp>>> => await startTestApp({ settings: { ...settings, broker: mosquitto.url, node } })
    const a = await start('a')
    const node = await startTestApp({ settings: { ...settings, node: 'embedded' } })
    const client = await connectTestClient(mosquitto.url)
    const there = await node.connect()
    for (const one of [client, there]) await one.subscribe('promises/me')

    const promise = async (plate: string): Promise<void> => {
      const made = await client.request('reserve', { lot: 'W', plate: `${plate}0` })
      await client.mqtt.publishAsync('requests/wait', JSON.stringify({ lot: 'W', plate }), { qos: 1, properties: { responseTopic: 'promises/me' } })
      // Secrets and ids are drawn at random: two letters may be in any.
      const waiting = await client.until(`the reply to ${plate}`, ({ text }) => text.includes('waiting') && text.includes(`"${plate}"`))
      expect(await client.request('cancel', made)).toMatchObject({ status: 'cancelled' })
      const told = ({ text }: { text: string }): boolean => text.includes('promoted') && text.includes(`"${plate}"`)
      const reservation = json((await client.until(`the promise to ${plate}`, told)).text).result as { reservation: string }
      await there.until(`the promise to ${plate}`, told)
      await expect.poll(async () => (await postgres.query<{ n: number }>(database, 'select count(*)::int as n from notices'))[0]?.n, { timeout: 5_000 }).toBe(0)
      for (const one of [client, there]) expect(one.received.filter(told)).toHaveLength(1)
      expect(reservation).toMatchObject({ event: 'promoted' })
      const { secret } = json(waiting.text).result as { secret: string }
      expect(await client.request('cancel', { reservation: reservation.reservation, secret })).toMatchObject({ status: 'cancelled' })
    }
    await promise('P1')
    await start('b')
    await a.app.stop()
    await promise('P2')
  })
})
