// Runs scenarios one after the other and gathers what they measured. After each one the results are written, so that
// nothing is lost when a later one fails, takes too long or is interrupted.
import { existsSync, writeFileSync } from 'node:fs'
import { messageOf } from '../shared/errors.js'
import { say } from './figures.js'
import { describeMachine, describeVersions } from './machine.js'
import type { Options } from './options.js'
import { RESULTS_FORMAT, type Results, type ScenarioResult, type Unfinished } from './results.js'
import { SCENARIOS } from './scenarios.js'
import { UsageError } from './usage-error.js'

/** One scenario with its options, and the command line that runs it alone. */
export interface Run {
  readonly scenario: string
  readonly options: Options
  readonly command: string
}

export interface RunParts {
  readonly runs: readonly Run[]
  /** The whole command line. */
  readonly command: string
  /** Where the results are written; null: nowhere. */
  readonly file: string | null
  /** All runs together end after so many minutes, whatever they do. */
  readonly limitMinutes: number
  /** Whether the others still run when one has failed. */
  readonly continues: boolean
}

export interface Ending {
  readonly failed: readonly { readonly scenario: string, readonly error: unknown }[]
}

class LimitError extends Error {
  override readonly name = 'LimitError'
}

/**
 * What was measured and what failed. Throws `UsageError` when a scenario refuses its options, and when this machine is none on which one can
 * measure. After a limit what was started is still there: the process has to end.
 */
export async function runScenarios ({ runs, command, file, limitMinutes, continues }: RunParts): Promise<[Ending, Results]> {
  // Memory and processor time of what is measured are read there.
  if (!existsSync('/proc/self/stat')) throw new UsageError('the bench reads processor time and memory from /proc, which this system has not: it runs on Linux')
  const startedAt = new Date().toISOString()
  const startedMs = performance.now()
  const [machine, versions] = [describeMachine(), describeVersions()]
  say(`$ ${command}`)
  say(`${startedAt}, ${Object.entries(versions).map(([name, version]) => `${name} ${version ?? 'is not installed'}`).join(', ')}`)
  say(`${machine.processors} x ${machine.processor}, ${machine.system}; load ${machine.loadBefore.toFixed(1)}, an fsync takes ${machine.syncMs.toFixed(2)} ms`)
  const scenarios: ScenarioResult[] = []
  const unfinished: Unfinished[] = []
  const failed: { scenario: string, error: unknown }[] = []
  const results = (): Results => ({ format: RESULTS_FORMAT, startedAt, seconds: Math.round((performance.now() - startedMs) / 1_000), command, machine, versions, scenarios, ...unfinished.length > 0 && { unfinished } })
  const limit = limitAfter(limitMinutes)
  try {
    for (const [i, run] of runs.entries()) {
      say('')
      try {
        const result = await Promise.race([SCENARIOS[run.scenario]?.run(run.options), limit.reached])
        if (result) scenarios.push({ ...result, command: run.command })
        else if (file !== null) unfinished.push({ scenario: run.scenario, why: 'it prints its figures and gives no data' })
      } catch (error) {
        if (error instanceof UsageError) throw error
        failed.push({ scenario: run.scenario, error })
        unfinished.push({ scenario: run.scenario, why: messageOf(error) })
        const stops = error instanceof LimitError || !continues
        if (stops) for (const { scenario } of runs.slice(i + 1)) unfinished.push({ scenario, why: `not begun: ${run.scenario} failed` })
        if (stops) break
        say(`  ${run.scenario} FAILED: ${messageOf(error)}`)
      } finally {
        if (file !== null) writeResults(file, results())
      }
    }
  } finally {
    limit.forget()
  }
  return [{ failed }, results()]
}

export function writeResults (file: string, results: Results): void {
  writeFileSync(file, `${JSON.stringify(results, null, 1)}\n`)
}

function limitAfter (minutes: number): { reached: Promise<never>, forget: () => void } {
  let timer: NodeJS.Timeout | undefined
  const reached = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new LimitError(`everything together took longer than ${minutes} min; --limit allows more`)), minutes * 60_000)
  })
  // It may be reached between two scenarios, when nobody waits for it.
  reached.catch(() => {})
  return { reached, forget: () => clearTimeout(timer) }
}
