// The process of a client that keeps hundreds of long requests under way until it is told to stop. Started by the scenario `greedy`.
import { connectMqtt, endMqtt, responseBaseOf } from '../shared/mqtt-client.js'
import { answer } from './child.js'
import type { GreedyRequests } from './greedy.js'

/** A page of what is not there, and so as long as a page takes. */
const BODY = '{"status":"overstayed"}'

let end: (() => Promise<number>) | null = null

answer<GreedyRequests>({
  begin: async ({ port, underWay }) => {
    const client = await connectMqtt(`mqtt://127.0.0.1:${port}`)
    const responseTopic = `${responseBaseOf(client)}/greedy`
    let answered = 0
    const ask = (): void => { client.publish('requests/list', BODY, { qos: 1, properties: { responseTopic, correlationData: Buffer.from('x') } }) }
    client.on('message', () => {
      answered++
      ask()
    })
    await client.subscribeAsync(responseTopic, { qos: 0 })
    for (let i = 0; i < underWay; i++) ask()
    // It has begun.
    await new Promise<void>(resolve => { client.once('message', () => resolve()) })
    end = async () => {
      await endMqtt(client)
      return answered
    }
  },
  end: async () => {
    if (end === null) throw new Error('it has not begun')
    return await end()
  }
})
