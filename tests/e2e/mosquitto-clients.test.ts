// The README's examples with the real mosquitto_sub, mosquitto_pub and mosquitto_rr of Debian's mosquitto-clients.
import { execFile, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { json, startTestApp } from '../support/app.js'

const run = promisify(execFile)
const installed = existsSync('/usr/bin/mosquitto_rr')
if (!installed) console.warn('skipped: tests with mosquitto_sub, _pub and _rr need Debian\'s mosquitto-clients')

/** A running mosquitto_sub whose lines can be waited for. */
function subscriber (port: number, ...args: string[]) {
  const child = spawn('mosquitto_sub', ['-p', String(port), '-v', ...args])
  onTestFinished(() => { child.kill('SIGKILL') })
  const lines: string[] = []
  const waiting = new Set<() => void>()
  createInterface({ input: child.stdout }).on('line', line => {
    lines.push(line)
    for (const look of waiting) look()
  })
  return {
    lines,
    until: async (line: string): Promise<void> => await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`mosquitto_sub did not print ${line}, but ${lines.join(' | ')}`)), 10_000)
      const look = (): void => {
        if (!lines.includes(line)) return
        clearTimeout(timer)
        waiting.delete(look)
        resolve()
      }
      waiting.add(look)
      look()
    })
  }
}

describe.skipIf(!installed)('the README with mosquitto clients', () => {
  test.each(['mqttv31', 'mqttv311', 'mqttv5'])('%s: what is free is printed at once, and a car changes it', async version => {
    const { app } = await startTestApp()
    const port = app.port ?? 0
    const sub = subscriber(port, '-V', version, '-t', 'lots/+/free')
    for (const line of ['lots/LOT-A/free 50', 'lots/LOT-B/free 75', 'lots/LOT-C/free 40', 'lots/LOT-D/free 80']) await sub.until(line)
    await run('mosquitto_pub', ['-p', String(port), '-V', version, '-q', '1', '-t', 'lots/LOT-A/sensor', '-m', '1'])
    await sub.until('lots/LOT-A/free 49')
  })

  test('mosquitto_rr reserves a place', async () => {
    const { app } = await startTestApp()
    const port = app.port ?? 0
    const sub = subscriber(port, '-t', 'lots/LOT-A/free')
    await sub.until('lots/LOT-A/free 50')
    const { stdout } = await run('mosquitto_rr', ['-p', String(port), '-V', '5', '-q', '1', '-t', 'requests/reserve', '-e', 'replies/me', '-m', '{"lot":"LOT-A","plate":"ABC123"}'])
    expect(json(stdout)).toMatchObject({ ok: true, result: { lot: 'LOT-A', plate: 'ABC123', status: 'held' } })
    await sub.until('lots/LOT-A/free 49')
  })

  test('MQTT 3.1.1 names the way back in the body', async () => {
    const { app } = await startTestApp()
    const port = app.port ?? 0
    const replies = subscriber(port, '-V', 'mqttv311', '-q', '1', '-t', 'replies/old', '-t', 'lots/LOT-B/free')
    await replies.until('lots/LOT-B/free 75')
    await run('mosquitto_pub', ['-p', String(port), '-V', 'mqttv311', '-q', '1', '-t', 'requests/availability', '-m', '{"lot":"LOT-A","replyTo":"replies/old","correlation":"c-1"}'])
    await replies.until('replies/old {"ok":true,"result":{"lots":[{"lot":"LOT-A","name":"LOT-A","free":50,"capacity":100,"open":true,"quality":"unknown"}]},"correlation":"c-1"}')
  })
})
