// `cluster`: several nodes with Patroni and etcd on this machine, something of it killed, stopped or cut off under load, and the longest
// gap in acknowledgements. A round after which something is not as it must be fails the scenario.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { whyNoNamespace } from './cluster/cut-off-node.js'
import { FAULTS, type Fault } from './cluster/faults.js'
import { measureFollowing } from './cluster/following.js'
import { CLUSTER_SETTINGS, ROOMY } from './cluster/load.js'
import { roundText, runRound, type Round } from './cluster/round.js'
import { NotInstalledError, RunningCluster } from './cluster/running-cluster.js'
import { say, whole } from './figures.js'
import { percentileOf, sayLatency } from './latency.js'
import type { Options } from './options.js'
import { newFolder, ROOT } from './processes.js'
import { Progress } from './progress.js'
import { Recorder, spreadOf } from './recorder.js'
import type { ScenarioResult } from './results.js'
import { UsageError } from './usage-error.js'

const FAULT = { name: 'fault', unit: '' }
const PERCENTILE = { name: 'percentile', unit: '%' }
const DELAY = { name: 'delay', unit: 'ms' }
const GAP = { name: 'longest gap', unit: 'ms' }

export async function cluster ({ rounds = 1, faults: wanted = Object.keys(FAULTS) }: Options): Promise<ScenarioResult> {
  const noNamespace = whyNoNamespace()
  const faults = wanted.filter(name => noNamespace === null || !faultOf(name).wantsCutOff)
  const title = 'Longest gap in acknowledgements of sensors when a part of a cluster fails under load, and when it comes back'
  const recorder = new Recorder({ scenario: 'cluster', title, parameters: { rounds, faults } })
  recorder.note('Nodes, databases, etcd and all clients share one machine: gaps of tens of milliseconds are its processors\'.')
  for (const name of wanted) if (!faults.includes(name)) recorder.absent(name, noNamespace ?? '')
  say(`cluster: ${title}; ${rounds} ${rounds === 1 ? 'round' : 'rounds'}`)
  const progress = new Progress('cluster', faults.length * rounds)
  const parts = { program: join(ROOT, 'bin/parkmq.js'), settings: join(newFolder(), 'settings.json') }
  writeFileSync(parts.settings, JSON.stringify(CLUSTER_SETTINGS))
  const running = await RunningCluster.up(parts).catch((error: unknown) => {
    if (error instanceof NotInstalledError) return error.message
    throw error
  })
  if (typeof running === 'string') {
    say(`  not measured: ${running}`)
    recorder.absent('a cluster', running)
    return recorder.result()
  }
  const done = new Map<string, Round[]>(faults.map(name => [name, []]))
  const wrong: string[] = []
  try {
    await follow(running, recorder)
    // In turn, so that what else the machine does meanwhile hits all of them.
    for (let n = 1; n <= rounds; n++) {
      for (const [name, before] of done) {
        progress.next(`${name}, round ${n}`)
        const round = await runRound(running, faultOf(name), ROOMY, parts)
        before.push(round)
        say(`  ${String(n).padStart(3)}  ${roundText(name, round)}`)
        for (const one of round.wrong) wrong.push(`${name}, round ${n}: ${one}`)
        record(recorder, name, round)
      }
    }
  } finally {
    await running.down()
  }
  say('')
  say(summary(done))
  for (const one of wrong) say(`  WRONG: ${one}`)
  if (wrong.length > 0) throw new Error(`${wrong.length} things were not as they must be`)
  return recorder.result()
}

/** How late the nodes follow each other. */
async function follow (running: RunningCluster, recorder: Recorder): Promise<void> {
  const { own, others } = await measureFollowing(running)
  for (const [what, latency] of [['at the node that counted it', own], ['at the other nodes', others]] as const) {
    say(`  a car is on the retained topics ${what} after ${sayLatency(latency)}`)
    for (const percentile of [50, 95, 99] as const) recorder.add({ what: 'until a car is on the retained topics', of: { where: what }, x: PERCENTILE, y: DELAY }, percentile, percentileOf(latency, percentile))
  }
}

function record (recorder: Recorder, name: string, { hitMs, othersMs, healingMs, healedAfterMs, longestAnswerMs, acknowledged, reservations, wrong }: Round): void {
  const add = (what: string, value: number): void => recorder.add({ what: 'longest gap', of: { what }, x: FAULT, y: GAP }, name, value)
  if (hitMs !== null) add('clients of the node that is hit', hitMs)
  add('other clients', othersMs)
  add('while it came back', healingMs)
  add('longest request', longestAnswerMs)
  add('all had joined again after', healedAfterMs)
  recorder.account({ fault: name }, { 'messages acknowledged and counted once': acknowledged, 'reservations granted and there once': reservations, 'things wrong': wrong.length })
}

/** A line for each fault: least, median and most of its rounds beside what is promised. */
function summary (done: ReadonlyMap<string, readonly Round[]>): string {
  const lines = [['fault', 'gap of clients of that node', 'promised', 'gap of the others', 'promised', 'while it came back', 'joined again after', 'wrong']]
  for (const [name, rounds] of done) {
    const { bounds } = faultOf(name)
    const hit = rounds.flatMap(({ hitMs }) => hitMs ?? [])
    lines.push([
      name, hit.length === 0 ? '-' : spreadText(hit), hit.length === 0 ? '-' : `${bounds.hit ?? '-'}`, spreadText(rounds.map(({ othersMs }) => othersMs)), `${bounds.others ?? '-'}`,
      spreadText(rounds.map(({ healingMs }) => healingMs)), spreadText(rounds.map(({ healedAfterMs }) => healedAfterMs)), String(rounds.reduce((sum, { wrong }) => sum + wrong.length, 0))
    ])
  }
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map(line => line[column]?.length ?? 0)))
  return ['least / median / most, in milliseconds', ...lines.map(line => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd())].join('\n')
}

function spreadText (values: readonly number[]): string {
  const { min, median, max } = spreadOf(values)
  return [min, median, max].map(whole).join(' / ')
}

function faultOf (name: string): Fault {
  const fault = FAULTS[name]
  if (fault === undefined) throw new UsageError(`there is no fault ${name}; there are ${Object.keys(FAULTS).join(', ')}`)
  return fault
}
