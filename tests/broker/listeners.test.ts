// The doors: who gets in, what the operator is told, and that closing leaves nothing open.
import { createServer, type AddressInfo, type Server } from 'node:net'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { OperatorError } from '../../shared/errors.js'
import { afterThisTest, ManualConsumer, startBroker } from '../support/broker.js'
import { RawClient } from '../support/raw-client.js'

/** Opens a WebSocket and tells what became of it: `open` and the subprotocol, or the refusal's status and text. */
async function knock (wsPort: number, { protocol = ['mqtt'], origin }: { protocol?: string[], origin?: string } = {}): Promise<{ status: number, text: string }> {
  const socket = new WebSocket(`ws://127.0.0.1:${wsPort}/mqtt`, protocol, origin === undefined ? {} : { origin })
  afterThisTest(() => socket.terminate())
  return await new Promise((resolve, reject) => {
    socket.once('open', () => resolve({ status: 101, text: socket.protocol }))
    socket.once('unexpected-response', (_, response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => { text += chunk.toString() }).on('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    socket.once('error', reject)
  })
}

async function occupied (): Promise<number> {
  const server: Server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  afterThisTest(() => new Promise<void>(resolve => server.close(() => resolve())))
  return (server.address() as AddressInfo).port
}

test.each(['port', 'wsPort'] as const)('says which %s is in use and what to do', async setting => {
  const port = await occupied()
  const failure = await startBroker({ [setting]: port }).catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(OperatorError)
  expect(failure).toMatchObject({
    code: 'port_in_use',
    message: `port ${port} on 127.0.0.1 is in use; choose another with ${setting === 'port' ? '--port' : '--ws-port'} or stop the program that uses it`
  })
})

test('says that the host is not one of this machine', async () => {
  await expect(startBroker({ host: '192.0.2.1' })).rejects.toMatchObject({ code: 'bad_host', message: expect.stringContaining('192.0.2.1') as string })
})

test('listens on the loopback address only, unless told otherwise', async () => {
  const broker = await startBroker()
  const server = createServer()
  afterThisTest(() => new Promise<void>(resolve => server.close(() => resolve())))
  // Another address of the loopback network is free for the same port.
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(broker.port, '127.0.0.2', resolve))
})

test('takes no more connections than the limit, over both doors, and takes one again when one has left', async () => {
  const broker = await startBroker({ limits: { connections: 3 } })
  const first = await RawClient.connected(broker)
  await RawClient.connected(broker, 5, { transport: 'ws' })
  await RawClient.connected(broker)
  const fourth = await RawClient.open(broker)
  await fourth.closed()
  expect(await broker.count('broker_over_limit_total{limit=connections}')).toBe(1)
  await expect(knock(broker.wsPort)).rejects.toThrow()
  expect(broker.logged[0]).toMatchObject({ msg: expect.stringContaining('limits.connections') as string })
  first.destroy()
  await expect.poll(async () => {
    const client = await RawClient.open(broker)
    return await client.connect().then(({ reasonCode }) => reasonCode, () => null)
  }).toBe(0)
})

test('closes a connection that does not send CONNECT in time', async () => {
  const broker = await startBroker({ limits: { connectTimeoutMs: 100 } })
  const silent = await RawClient.open(broker)
  await silent.closed()
  expect(await broker.count('broker_connection_errors_total')).toBe(1)
})

test('speaks only MQTT on the WebSocket port', async () => {
  const { wsPort } = await startBroker()
  expect(await knock(wsPort)).toEqual({ status: 101, text: 'mqtt' })
  expect(await knock(wsPort, { protocol: ['chat', 'mqttv3.1'] })).toEqual({ status: 101, text: 'mqttv3.1' })
  expect(await knock(wsPort, { protocol: ['chat'] })).toEqual({ status: 400, text: 'the WebSocket subprotocol must be mqtt\n' })
  const page = await fetch(`http://127.0.0.1:${wsPort}/`)
  expect(page.status).toBe(426)
})

test('lets only pages of this machine connect, and those that are allowed', async () => {
  const { wsPort } = await startBroker({ wsOrigins: ['https://parking.example'] })
  for (const origin of ['http://localhost:3000', 'http://127.0.0.1', 'https://parking.example']) {
    expect(await knock(wsPort, { origin })).toMatchObject({ status: 101 })
  }
  for (const origin of ['https://evil.example', 'null', 'https://localhost.evil.example', 'file://']) {
    expect(await knock(wsPort, { origin })).toMatchObject({ status: 403, text: expect.stringContaining('wsOrigins') as string })
  }
})

test('closes a WebSocket client that sends text', async () => {
  const broker = await startBroker()
  const socket = new WebSocket(`ws://127.0.0.1:${broker.wsPort}`, 'mqtt')
  let answered = false
  socket.on('message', () => { answered = true })
  socket.once('open', () => socket.send(Buffer.from('100d' + '00044d515454' + '04020000' + '000161', 'hex').toString('latin1')))
  await new Promise(resolve => socket.once('close', resolve))
  expect(answered).toBe(false)
  expect(await broker.count('broker_malformed_packets_total{reason=0x81}')).toBe(1)
})

test('a WebSocket message far above the limit is refused by WebSocket itself', async () => {
  const broker = await startBroker({ limits: { packetBytes: 1_024 } })
  const socket = new WebSocket(`ws://127.0.0.1:${broker.wsPort}`, 'mqtt')
  socket.once('open', () => socket.send(Buffer.alloc(5_000)))
  expect(await new Promise(resolve => socket.once('close', resolve))).toBe(1009)
  expect(await broker.count('broker_malformed_packets_total{reason=0x95}')).toBe(1)
})

test('one WebSocket message for the packets of a turn, not one for each piece of them', async () => {
  const broker = await startBroker({ prepare: ({ bus }) => bus.publish('lots/LOT-A/free', '42', { retain: true }) })
  const socket = new WebSocket(`ws://127.0.0.1:${broker.wsPort}`, 'mqtt')
  afterThisTest(() => socket.terminate())
  const messages: string[] = []
  const two = new Promise<void>(resolve => socket.on('message', (message: Buffer) => {
    messages.push(message.toString('hex'))
    if (messages.length === 2) resolve()
  }))
  socket.once('open', () => socket.send(Buffer.from('100d' + '00044d515454' + '04020000' + '000161' + '8214' + '0001' + '000f' + Buffer.from('lots/LOT-A/free').toString('hex') + '00', 'hex')))
  await two
  expect(messages).toEqual(['20020000', '9003000100' + '3113' + '000f' + Buffer.from('lots/LOT-A/free').toString('hex') + '3432'])
})

test('closing tells 5.0 clients why, closes all, and leaves nothing open', async () => {
  const before = process.getActiveResourcesInfo().filter(name => name.startsWith('TCP')).length
  const broker = await startBroker()
  const clients = [
    await RawClient.connected(broker), await RawClient.connected(broker, 5, { transport: 'ws' }), await RawClient.connected(broker, 4), await RawClient.open(broker)
  ]
  await Promise.all([broker.close(), broker.close()])
  for (const client of clients) await client.closed()
  expect(clients.map(client => client.packets.map(packet => packet.cmd))).toEqual([['connack', 'disconnect'], ['connack', 'disconnect'], ['connack'], []])
  expect(clients[0]?.packets.at(-1)).toMatchObject({ reasonCode: 0x8b })
  for (const client of clients) client.destroy()
  await expect.poll(() => process.getActiveResourcesInfo().filter(name => name.startsWith('TCP')).length).toBe(before)
  await expect(RawClient.open(broker)).rejects.toThrow('ECONNREFUSED')
})

test('closing lets the consumers finish, and acknowledges what they committed', async () => {
  const consumer = new ManualConsumer()
  const broker = await startBroker({ prepare: ({ bus }) => bus.consume('lots/+/sensor', consumer) })
  const client = await RawClient.connected(broker)
  client.send({ cmd: 'publish', topic: 'lots/LOT-A/sensor', payload: '1', qos: 1, messageId: 1, dup: false, retain: false })
  const batch = await consumer.batch(0)
  const closed = broker.close()
  batch.settle()
  await closed
  await client.closed()
  expect(client.packets.slice(1)).toMatchObject([{ cmd: 'puback', messageId: 1, reasonCode: 0 }, { cmd: 'disconnect', reasonCode: 0x8b }])
})

test('a broker that never listened can be closed', async () => {
  const port = await occupied()
  // Its start fails at the second door; the helper closes it after the test all the same.
  await expect(startBroker({ wsPort: port })).rejects.toThrow('in use')
})
