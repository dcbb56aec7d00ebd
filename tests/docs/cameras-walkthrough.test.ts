// docs/cameras-walkthrough.md tells what docs/cameras-walkthrough.mjs sees: its steps in their order, and in each at least these
// topics. The script fails by itself where something else is seen.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const docs = (name: string): string => fileURLToPath(new URL(`../../docs/${name}`, import.meta.url))

/** Topics by step: of the page those at the beginning of a row, of the script those that it has seen. */
function steps (text: string, heading: RegExp, topic: RegExp): [string, string[]][] {
  return text.split(heading).slice(1).map(part => [part.split('\n', 1)[0] ?? '', [...part.matchAll(topic)].map(([, found]) => found ?? '')])
}

test('what docs/cameras-walkthrough.md tells is seen', { timeout: 180_000 }, async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [docs('cameras-walkthrough.mjs')], { timeout: 170_000 })
  const seen = steps(stdout, /^# /m, /^ {2}(\S+) {2}/gm)
  expect(seen.pop()?.[0]).toBe('Done: everything was seen')
  // Events are told in the page and not waited for.
  const told = steps(readFileSync(docs('cameras-walkthrough.md'), 'utf8'), /^## /m, /^\| `(\S+)` \|/gm).map(([step, topics]) => [step, topics.filter(topic => !topic.endsWith('/events'))])
  expect(seen.map(([step, topics]) => [step, [...topics].sort()])).toEqual(told.map(([step, topics]) => [step, [...topics as string[]].sort()]))
})
