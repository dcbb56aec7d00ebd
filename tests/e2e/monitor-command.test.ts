// `parkmq monitor` as a program: a line for each change, its end by time and by Ctrl-C, and what it says and does when it
// cannot hear.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect, onTestFinished, test } from 'vitest'
import { counterValues } from '../../shared/metrics.js'
import { startTestApp, testFolder, type TestApp } from '../support/app.js'
import { PacketProxy } from '../support/packet-proxy.js'
import { PROGRAM } from '../support/process.js'

interface Running {
  readonly process: ChildProcess
  readonly lines: string[]
  errors: string
  /** Resolves with the line with this number, counted from 1. */
  line (number: number): Promise<string>
  said (words: string): Promise<void>
  readonly ended: Promise<[number | null, NodeJS.Signals | null]>
}

function monitor (url: string, ...args: string[]): Running {
  const child = spawn(process.execPath, [PROGRAM, 'monitor', ...args, '--url', url], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'close') as Running['ended']
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const wakes = new Set<() => void>()
  const wake = (): void => { for (const one of wakes) one() }
  const until = async (holds: () => boolean, what: string): Promise<void> => await new Promise((resolve, reject) => {
    const look = (): void => {
      if (!holds()) return
      wakes.delete(look)
      resolve()
    }
    wakes.add(look)
    look()
    void ended.then(() => reject(new Error(`it ended instead of ${what}: ${running.lines.join(' | ')} ${running.errors}`)))
  })
  const running: Running = {
    process: child, lines: [], errors: '', ended,
    async line (number) {
      await until(() => running.lines.length >= number, `line ${number}`)
      return running.lines[number - 1] ?? ''
    },
    async said (words) { await until(() => running.errors.includes(words), words) }
  }
  createInterface({ input: child.stdout }).on('line', line => {
    running.lines.push(line)
    wake()
  })
  child.stderr.on('data', (text: Buffer) => {
    running.errors += text.toString()
    wake()
  })
  return running
}

async function open ({ app }: TestApp): Promise<number> {
  return (await counterValues(app.metrics)).parkmq_monitors ?? 0
}

test('prints the lot as it is and each change of it, and ends with its time', async () => {
  const at = await startTestApp()
  const other = await at.connect()
  const running = monitor(at.url, 'LOT-A', '--for', '5s')
  expect(await running.line(1)).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d LOT-A 50\/100 open unknown$/)
  await other.publish('lots/LOT-A/sensor', '1')
  expect(await running.line(2)).toMatch(/ LOT-A 49\/100 open live$/)
  await other.request('lot.close', { lot: 'LOT-A' })
  expect(await running.line(3)).toMatch(/ LOT-A 0\/100 closed live$/)
  expect(await running.ended).toEqual([0, null])
  expect(running.errors).toBe('the monitor of LOT-A has ended: its time is over\n')
  expect(running.lines).toHaveLength(3)
})

test('--json prints every message as one line, the end as well', async () => {
  const at = await startTestApp()
  const other = await at.connect()
  const running = monitor(at.url, 'LOT-A', '--for', '1h', '--json')
  expect(JSON.parse(await running.line(1))).toMatchObject({ monitor: 'started', lot: 'LOT-A', free: 50, until: expect.any(String) as string })
  await other.publish('lots/LOT-A/sensor', '1')
  expect(JSON.parse(await running.line(2))).toMatchObject({ monitor: 'update', free: 49, capacity: 100, open: true, quality: 'live' })
  await other.request('lot.remove', { lot: 'LOT-A' })
  expect(JSON.parse(await running.line(3))).toEqual({ monitor: 'end', lot: 'LOT-A', why: 'lot_removed' })
  expect(await running.ended).toEqual([0, null])
})

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends it cleanly: with unmonitor, and without a word', async signal => {
  const at = await startTestApp()
  const running = monitor(at.url, 'LOT-A')
  await running.line(1)
  expect(await open(at)).toBe(1)
  running.process.kill(signal)
  expect(await running.ended).toEqual([0, null])
  expect(running.errors).toBe('')
  expect((await counterValues(at.app.metrics))['parkmq_requests_total{method=unmonitor,code=ok}']).toBe(1)
  expect(await open(at)).toBe(0)
})

test('a refusal is told, exit code 1; nobody there is 3; a wrong time is 2', async () => {
  const { url } = await startTestApp()
  const refused = monitor(url, 'LOT-X')
  expect(await refused.ended).toEqual([1, null])
  expect(refused.errors).toMatch(/^refused \(unknown_lot\): there is no lot LOT-X/)
  expect(await monitor('mqtt://127.0.0.1:1', 'LOT-A').ended).toEqual([3, null])
  const wrong = monitor(url, 'LOT-A', '--for', '25h')
  expect(await wrong.ended).toEqual([2, null])
  expect(wrong.errors).toContain('--for 25h')
})

test('a lost connection is told, and it goes on for the time that is left', async () => {
  const at = await startTestApp()
  const other = await at.connect()
  const proxy = await PacketProxy.open(at.app.port ?? 0)
  onTestFinished(() => proxy.close())
  const running = monitor(proxy.url, 'LOT-A', '--for', '1h', '--json')
  const first = JSON.parse(await running.line(1)) as { until: string }
  proxy.cut()
  await running.said('the connection is lost')
  await other.publish('lots/LOT-A/sensor', '1')
  const second = JSON.parse(await running.line(2)) as { monitor: string, free: number, until: string }
  expect(second).toMatchObject({ monitor: 'started', free: 49 })
  // Whole seconds are asked for.
  expect(Math.abs(Date.parse(second.until) - Date.parse(first.until))).toBeLessThanOrEqual(2_000)
  await other.publish('lots/LOT-A/sensor', '1')
  expect(JSON.parse(await running.line(3))).toMatchObject({ monitor: 'update', free: 48 })
  expect(await open(at)).toBe(1)
  running.process.kill('SIGINT')
  expect(await running.ended).toEqual([0, null])
})

test('a restart of parkmq is told, and it goes on', async () => {
  const data = testFolder()
  const before = await startTestApp({ data })
  const running = monitor(before.url, 'LOT-A', '--for', '1h')
  await running.line(1)
  await before.app.stop()
  await running.said('the service stops')
  const after = await startTestApp({ data, settings: { port: before.app.port } })
  await running.line(2)
  await (await after.connect()).publish('lots/LOT-A/sensor', '1')
  expect(await running.line(3)).toMatch(/ LOT-A 49\/100 open live$/)
  running.process.kill('SIGINT')
  expect(await running.ended).toEqual([0, null])
})

test('whoever stays away until the time is over is told so, exit code 3', async () => {
  const at = await startTestApp()
  const running = monitor(at.url, 'LOT-A', '--for', '2s')
  await running.line(1)
  await at.app.stop()
  expect(await running.ended).toEqual([3, null])
  expect(running.errors).toMatch(/parkmq: the time is over, and what became of LOT-A at last is not known/)
})
