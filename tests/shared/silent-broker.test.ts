// A machine that is cut off closes no connection. Whoever has somewhere else to go finds out soon and goes there, busy or not.
import { describe, expect, onTestFinished, test } from 'vitest'
import { connectTestClient, startTestApp } from '../support/app.js'
import { startSilentProxy } from '../support/silent-proxy.js'

const EVERY_MS = 50
const TIMEOUT_MS = 20_000

describe('a broker that falls silent', () => {
  test('is left by a client that publishes all the time', async () => {
    const [near, far] = [await startTestApp(), await startTestApp()]
    const proxy = await startSilentProxy(Number(new URL(near.url).port))
    const { mqtt } = await connectTestClient(`${proxy.url},${far.url}`)
    const listener = await (await far.connect()).subscribe('here')

    proxy.fallSilent()
    const open = mqtt.publishAsync('here', 'after the silence', { qos: 1 })
    const timer = setInterval(() => mqtt.publish('elsewhere', 'x', { qos: 1 }), EVERY_MS)
    onTestFinished(() => clearInterval(timer))
    await open
    expect(await listener.last('here', 'after the silence')).toBe('after the silence')
  }, TIMEOUT_MS)
})
