// `start`: how soon parkmq is ready, and how large it is then.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { say } from './figures.js'
import { newFolder, startParkmq } from './processes.js'
import { Recorder } from './recorder.js'
import type { ScenarioResult } from './results.js'

/** Time to ready and idle memory, with four and with ten thousand lots. */
export async function starting (): Promise<ScenarioResult> {
  const recorder = new Recorder({ scenario: 'start', title: 'From the start of the process to ready, and resident memory then', parameters: { lots: [4, 10_000] } })
  const x = { name: 'ledger', unit: '' }
  const folder = newFolder()
  const file = join(folder, 'lots.json')
  writeFileSync(file, JSON.stringify({ lots: Array.from({ length: 10_000 }, (_, i) => ({ lot: `L-${i}`, capacity: 100, occupied: i % 100 })) }))
  const many = ['--config', file, '--data', join(folder, 'data')]
  for (const [name, args] of [['4 lots', []], ['10,000 lots, first start', many], ['10,000 lots, started again', many]] as const) {
    const parkmq = await startParkmq(args)
    say(`start with ${name}: ready after ${Math.round(parkmq.readyMs)} ms, ${Math.round(parkmq.memoryBytes() / 1e6)} MB resident`)
    recorder.add({ what: 'time to ready', of: {}, x, y: { name: 'time to ready', unit: 'ms' } }, name, parkmq.readyMs)
    recorder.add({ what: 'memory', of: {}, x, y: { name: 'resident memory', unit: 'bytes' } }, name, parkmq.memoryBytes())
    await parkmq.stop()
  }
  rmSync(folder, { recursive: true, force: true })
  return recorder.result()
}
