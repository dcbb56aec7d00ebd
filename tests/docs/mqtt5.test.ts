// docs/mqtt5.md is the promise of what is tested: every test that it names must exist, and every statement that a test
// of MQTT 5.0 names must be in it.
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const TESTS = 'tests/conformance/'

/** A numbered statement, or the number of a section. */
const STATEMENT = String.raw`MQTT-\d+(?:\.\d+)+-\d+|\d+(?:\.\d+)+`
const ROW = new RegExp(String.raw`^\| (${STATEMENT}) \| (.+?) \| (.+) \|$`)
/** `file.test.ts: part of a test's name` */
const NAMED_TEST = /([\w.-]+\.test\.ts): ([^;]+)/g

interface Row {
  readonly statement: string
  readonly shownBy: string
  readonly tests: readonly { file: string, name: string }[]
}

const lines = readFileSync(at('docs/mqtt5.md'), 'utf8').split('\n').map(line => line.trim())
const rows: Row[] = lines.flatMap(line => {
  const [, statement, , shownBy] = ROW.exec(line) ?? []
  if (statement === undefined || shownBy === undefined) return []
  return [{ statement, shownBy, tests: [...shownBy.matchAll(NAMED_TEST)].map(([, file = '', name = '']) => ({ file, name: name.trim() })) }]
})

const sources = new Map(readdirSync(at(TESTS)).filter(name => name.endsWith('.test.ts')).map(name => [name, readFileSync(at(TESTS + name), 'utf8')]))

/** Whether a line of the file has the statement and this part of a test's name together. */
function names (file: string, statement: string, name: string): boolean {
  const source = sources.get(file)?.replaceAll('\\\'', '\'') ?? ''
  return source.split('\n').some(line => line.includes(`[${statement}]`) && line.includes(name))
}

describe('docs/mqtt5.md', () => {
  test('has a row for every statement and no line that only looks like one', () => {
    expect(rows.length).toBeGreaterThan(190)
    const tableLines = lines.filter(line => line.startsWith('|') && !line.startsWith('|--') && !line.startsWith('| statement '))
    const strange = tableLines.filter(line => /^\| (MQTT-|\d+\.)/.test(line) && !ROW.test(line))
    expect(strange).toEqual([])
  })

  test('has each statement once', () => {
    const seen = new Set<string>()
    expect(rows.map(row => row.statement).filter(statement => seen.size === seen.add(statement).size)).toEqual([])
  })

  test('names a test for each statement, or says why not', () => {
    expect(rows.filter(({ tests, shownBy }) => tests.length === 0 && !/^not \w+: .{10}/.test(shownBy))).toEqual([])
  })

  test('names only tests that exist and that name the statement too', () => {
    const missing = rows.flatMap(({ statement, tests }) => tests.filter(({ file, name }) => !names(file, statement, name)).map(({ file, name }) => `${statement}: ${file}: ${name}`))
    expect(missing).toEqual([])
  })

  test('has every statement that a test of MQTT 5.0 names', () => {
    const known = new Set(rows.map(row => row.statement))
    const unknown = [...sources].filter(([file]) => file.startsWith('v5-')).flatMap(([file, source]) =>
      [...source.matchAll(new RegExp(String.raw`\[(${STATEMENT})\]`, 'g'))].map(match => match[1] ?? '').filter(statement => !known.has(statement)).map(statement => `${file}: ${statement}`))
    expect(unknown).toEqual([])
  })
})
