// `parkmq watch` as a program: a line for each lot, and Ctrl-C ends it without another word.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { startTestApp } from '../support/app.js'
import { PROGRAM } from '../support/process.js'

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends it cleanly: the connection that ends then is not a lost one', async signal => {
  const { url } = await startTestApp()
  const watch = spawn(process.execPath, [PROGRAM, 'watch', '--url', url], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(watch, 'exit')
  onTestFinished(async () => {
    watch.kill('SIGKILL')
    await ended
  })
  const errors = text(watch.stderr)
  const lots: string[] = []
  for await (const line of createInterface({ input: watch.stdout })) {
    lots.push(line.split(' ')[1] ?? '')
    if (lots.length === 4) break
  }
  expect(lots.sort()).toEqual(['LOT-A', 'LOT-B', 'LOT-C', 'LOT-D'])
  watch.kill(signal)
  expect(await ended).toEqual([0, null])
  expect(await errors).toBe('')
})
