// Drawn car parks of seeds and camera angles that the calibration never saw: what is drawn is what is found.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { testFolder } from '../support/app.js'
import { PROGRAM } from '../support/process.js'

interface Figures { readonly bays: number, readonly accuracy: number }

test('in clear weather at least 99 % of the bays are judged right on each camera that was left out', { timeout: 240_000 }, () => {
  const frames = join(testFolder(), 'frames')
  const parkmq = (...args: string[]): string => execFileSync(process.execPath, [PROGRAM, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  parkmq('simulate', 'cameras', '--cameras', '3', '--bays', '24', '--count', '4', '--seed', '31', '--write', frames)
  const { all, sequences } = JSON.parse(parkmq('camera', 'evaluate', '--leave-one-out', '--frames', frames, '--json')) as { all: Figures, sequences: Record<string, Figures> }
  expect(all.bays).toBe(3 * 4 * 24)
  for (const [camera, { accuracy }] of Object.entries(sequences)) expect(accuracy, camera).toBeGreaterThanOrEqual(0.99)
})
