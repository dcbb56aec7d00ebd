// The fuzzer by hand: npm run fuzz -- --cases 100000 --seed 7, or one case of a run again: --seed 7 --case 4711.
// The broker is a process of its own. Ends with 1 when anything was wrong.
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { run } from './run.js'
import { targetProcess } from './target.js'

const BROKER = fileURLToPath(new URL('broker-process.js', import.meta.url))
const MB = 1024 * 1024
/** What memory may grow from the first look to the last: a share of the first, and bytes for what only grows once. */
const GROWTH = 1.15
const GROWTH_BYTES = 8 * MB

const { values } = parseArgs({ options: { cases: { type: 'string', default: '3000' }, seed: { type: 'string' }, case: { type: 'string' } } })
const seed = wholeNumber('--seed', values.seed ?? String(Date.now() % 1_000_000_000))
const single = values.case === undefined ? null : wholeNumber('--case', values.case)
const cases = single === null ? wholeNumber('--cases', values.cases) : 1

const startedMs = performance.now()
const target = await targetProcess(BROKER)
console.log(`${single === null ? `${cases} cases` : `case ${single}`}, seed ${seed}`)
const report = await run({
  target, seed, cases, from: single ?? 0, memoryEvery: single === null ? Math.max(500, Math.ceil(cases / 20)) : 0,
  watchCounts: single === null,
  onProgress: ({ done, letIn, violated, unheard, failures, memoryBytes }) => {
    const seconds = (performance.now() - startedMs) / 1_000
    console.log(`${done} cases in ${seconds.toFixed(0)} s: ${letIn} let in, ${violated} broke a rule (${unheard} heard only a reset), ${failures} failures${memoryBytes === null ? '' : `, ${(memoryBytes / MB).toFixed(1)} MB`}`)
  }
})
await target.stop()

const faults = [...report.faults]
// What compiles and what grows to its working size does so in the first part.
const [first, last] = [report.memory[Math.floor(report.memory.length / 5)], report.memory.at(-1)]
if (first !== undefined && last !== undefined && last > first * GROWTH + GROWTH_BYTES) faults.push(`seed ${seed}: memory grew from ${(first / MB).toFixed(1)} to ${(last / MB).toFixed(1)} MB`)
console.log(`healthy clients: ${report.healthy.messages} messages, longest gap ${report.healthy.longestGapMs} ms`)
if (report.counts.size > 0) console.log(`in the end ${[...report.counts].map(([name, value]) => `${name} ${value}`).join(', ')}`)
else if (single === null) console.log('the broker says nothing on $SYS/broker/...: sessions, subscriptions and stored messages were not counted')
for (const fault of faults) console.error(`\n${fault}`)
console.log(faults.length === 0 ? 'nothing was wrong' : `\n${faults.length} faults`)
process.exitCode = faults.length === 0 ? 0 : 1

function wholeNumber (flag: string, text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 0) return value
  console.error(`${flag} must be a whole number, not ${text}`)
  process.exit(2)
}
