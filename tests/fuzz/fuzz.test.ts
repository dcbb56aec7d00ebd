// The fuzzer for a bounded time, in CI. Longer by hand, with the broker in a process of its own and its memory watched:
// npm run fuzz -- --cases 100000 --seed 7
import { expect, test } from 'vitest'
import { run } from './run.js'
import { targetHere } from './target.js'

const CASES = 3_000
const SEED = Date.now() % 1_000_000_000

test(`${CASES} lives of fuzzing clients, seed ${SEED}: nothing unanswered, nothing against the standard, nothing left behind`, async () => {
  const target = await targetHere()
  try {
    const report = await run({ target, seed: SEED, cases: CASES })
    expect(report.faults).toEqual([])
    // A generator that only makes nonsense would find nothing.
    expect(report.letIn).toBeGreaterThan(CASES / 2)
    expect(report.violated).toBeGreaterThan(CASES / 20)
    expect(report.healthy.messages).toBeGreaterThan(0)
  } finally {
    await target.stop()
  }
}, 120_000)
