// `restart`: how soon parkmq is ready again after it was killed, by its lots, by the reservations that it remembers and by
// those that are still to come.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { say, whole } from './figures.js'
import { FILLED_CONFIG, fillLedger } from './filled-ledger.js'
import type { Options } from './options.js'
import { newFolder, startParkmq } from './processes.js'
import { Progress } from './progress.js'
import { Recorder, spreadOf } from './recorder.js'
import type { ScenarioResult } from './results.js'

const LOTS = 10_000
/** Reservations that have ended. */
const ENDED = [1_000, 10_000, 100_000, 1_000_000]
const MOST_LIVE = 100_000
/** The only lot counts that are measured without any reservation, besides the usual one. */
const OTHER_LOTS = [4, 1_000, 100_000]

interface Ledger {
  readonly lots: number
  readonly ended: number
  readonly live: number
  /** What this one is a point of. */
  readonly over: 'lots' | 'reservations in the history' | 'reservations to come'
}

/** Each ledger is filled once, started, and then killed and started again in every round. */
export async function restart ({ rounds = 3, lots = LOTS, reservations = ENDED }: Options): Promise<ScenarioResult> {
  const title = 'From the start of the process to ready, after kill -9, with a ledger that is filled beforehand'
  const recorder = new Recorder({ scenario: 'restart', title, parameters: { rounds, lots, reservations } })
  recorder.note('Each reservation in the history has two lines in the audit. Those to come are spread over 90 days, the same number in each lot.')
  recorder.note('The file was just written: the system has it in its memory.')
  say(`restart: ${title}; ${rounds} rounds`)
  const ledgers: Ledger[] = [
    ...[...OTHER_LOTS.filter(count => lots === LOTS || count < lots), lots].map(count => ({ lots: count, ended: 0, live: 0, over: 'lots' as const })),
    ...reservations.map(ended => ({ lots, ended, live: 0, over: 'reservations in the history' as const })),
    ...reservations.filter(count => count <= MOST_LIVE).map(live => ({ lots, ended: 0, live, over: 'reservations to come' as const }))
  ]
  const progress = new Progress('restart', ledgers.length * (rounds + 2))
  for (const ledger of ledgers) await measure(recorder, progress, ledger, rounds)
  return recorder.result()
}

async function measure (recorder: Recorder, progress: Progress, { lots, ended, live, over }: Ledger, rounds: number): Promise<void> {
  const name = `${whole(lots)} lots, ${whole(ended)} reservations in the history, ${whole(live)} to come`
  const folder = newFolder()
  try {
    progress.next(`${name}: filling`)
    await fillLedger(folder, { lots, ended, live })
    const config = join(folder, 'config.json')
    writeFileSync(config, FILLED_CONFIG)
    const times: number[] = []
    const cpuTimes: number[] = []
    const x = { name: over, unit: '' }
    const at = over === 'lots' ? lots : ended + live
    const of = { over, ...over !== 'lots' && { lots: String(lots) } }
    // Round 0 is the first start, which is no restart.
    for (let round = 0; round <= rounds; round++) {
      progress.next(name)
      const parkmq = await startParkmq(['--config', config, '--data', folder])
      try {
        if (round > 0) {
          const cpuMs = parkmq.cpuMs()
          times.push(parkmq.readyMs)
          cpuTimes.push(cpuMs)
          recorder.add({ what: 'time to ready', of, x, y: { name: 'time to ready', unit: 'ms' } }, at, parkmq.readyMs)
          recorder.add({ what: 'processor time to ready', of, x, y: { name: 'processor time', unit: 'ms' } }, at, cpuMs)
          recorder.add({ what: 'memory', of, x, y: { name: 'resident memory', unit: 'bytes' } }, at, parkmq.memoryBytes())
        }
        parkmq.process.kill('SIGKILL')
      } finally {
        await parkmq.stop()
      }
    }
    const { median, min, max } = spreadOf(times)
    say(`  ${name}: ready after ${whole(median)} ms (${whole(min)} to ${whole(max)}), ${whole(spreadOf(cpuTimes).median)} ms of processor time`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
