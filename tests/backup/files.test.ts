// `parkmq backup` and `parkmq restore` as an operator has them: what is refused, and what a killed or damaged one leaves.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, watch, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { fillLedger } from '../../bench/filled-ledger.js'
import { Config } from '../../shared/config.js'
import { createLog } from '../../shared/log.js'
import { startApp } from '../../cli/app.js'
import { startTestApp, testFolder } from '../support/app.js'
import { PROGRAM } from '../support/process.js'
import { writeUsers } from '../support/users-file.js'
import { holdFolder, openSqlite } from '../../storage/sqlite.js'
import { backup, backupOf, ledgerLines, linesOf, restore } from './support.js'

const run = (...args: string[]) => spawnSync(process.execPath, [PROGRAM, ...args], { encoding: 'utf8', timeout: 60_000 })

/** Waits until the folder has a name that fits. */
async function appears (folder: string, fits: (name: string) => boolean): Promise<void> {
  const watcher = watch(folder)
  try {
    while (!readdirSync(folder).some(fits)) await once(watcher, 'change')
  } finally {
    watcher.close()
  }
}

/** A small ledger, and its backup. */
async function smallLedger (): Promise<{ data: string, bytes: Buffer }> {
  const data = testFolder()
  const app = await startApp({ config: Config.parse({ port: 0, wsPort: 0, data }), log: createLog('silent', false) })
  await app.stop()
  return { data, bytes: await backup({ data }) }
}

describe('killed in the middle', () => {
  test('a backup leaves no file of its name, and a restore no ledger; another one then works', async () => {
    const data = testFolder()
    await fillLedger(data, { lots: 10, ended: 20_000 })
    const file = join(testFolder(), 'made')
    const backing = spawn(process.execPath, [PROGRAM, 'backup', file, '--data', data], { stdio: 'ignore' })
    const ended = once(backing, 'exit')
    await appears(join(file, '..'), name => name.endsWith('.part'))
    backing.kill('SIGKILL')
    expect(await ended).toEqual([null, 'SIGKILL'])
    expect(existsSync(file)).toBe(false)

    const bytes = await backup({ data })
    for (const [signal, code] of [['SIGKILL', null], ['SIGINT', 130]] as const) {
      const to = testFolder()
      const restoring = spawn(process.execPath, [PROGRAM, 'restore', '-', '--data', to], { stdio: ['pipe', 'ignore', 'ignore'] })
      const over = once(restoring, 'exit')
      restoring.stdin.on('error', () => { /* It is killed while it reads. */ })
      restoring.stdin.write(bytes.subarray(0, bytes.length / 2))
      await appears(to, name => name === 'restoring')
      restoring.kill(signal)
      // The rest comes when the signal is there already.
      restoring.stdin.end(signal === 'SIGINT' ? bytes.subarray(bytes.length / 2) : '')
      expect((await over)[0]).toBe(code)
      expect(existsSync(join(to, 'ledger.db'))).toBe(false)
      await restore(bytes, { data: to })
      expect(ledgerLines(await backup({ data: to }))).toEqual(ledgerLines(bytes))
      expect(readdirSync(to)).not.toContain('restoring')
    }
  }, 30_000)
})

describe('a file that is not whole', () => {
  let lines: string[] = []
  let bytes: Buffer = Buffer.alloc(0)
  beforeAll(async () => {
    const data = mkdtempSync(join(tmpdir(), 'parkmq-test-'))
    const opened = await openSqlite(data)
    await opened.database.kysely.insertInto('permits').values([{ permit: 'A' as never, sold: 1 }, { permit: 'B' as never, sold: 2 }]).execute()
    await opened.close()
    bytes = await backup({ data })
    lines = linesOf(bytes)
    rmSync(data, { recursive: true })
  })
  const changed = (from: string, to: string): string[] => lines.map(line => line.replace(from, to))

  test.each<[string, () => Buffer, RegExp]>([
    ['nothing', () => Buffer.alloc(0), /the backup is empty|is missing/],
    ['text', () => Buffer.from('hello'), /not gzip/],
    ['gzip of something else', () => backupOf(['{"a":1}']), /no parkmq backup/],
    ['one that ends early', () => bytes.subarray(0, bytes.length - 20), /the rest of it is missing/],
    ['one without its last line', () => backupOf(lines.slice(0, -1)), /the rest of it is missing/],
    ['a byte that changed', () => Buffer.concat([bytes.subarray(0, 200), Buffer.from([bytes[200] as number ^ 0xff]), bytes.subarray(201)]), /damaged|missing|not JSON/],
    ['a number that changed', () => backupOf(changed('["A",1]', '["A",3]')), /SHA-256/],
    ['a row that is missing', () => backupOf(lines.filter(line => line !== '["B",2]'), { isSigned: true }), /says 2 rows of permits, and there are 1/],
    ['a row twice', () => backupOf(lines.flatMap(line => line === '["B",2]' ? [line, line] : [line]), { isSigned: true }), /rows of permits before line \d+ do not fit|and there are 3/],
    ['a text for a number', () => backupOf(changed('["A",1]', '["A","1"]'), { isSigned: true }), /line \d+: sold of permits is not an integer/],
    ['a value that its table refuses', () => backupOf(changed('["A",1]', '["A",-1]'), { isSigned: true }), /rows of permits .*do not fit/],
    ['a row of another length', () => backupOf(changed('["A",1]', '["A"]'), { isSigned: true }), /has 2 values, not 1/],
    ['half a line', () => backupOf(changed('["A",1]', '["A",'), { isSigned: true }), /line \d+ is not JSON/],
    ['lines behind the end', () => backupOf([...lines, '["C",1]']), /comes after the last one/],
    ['an unknown section', () => backupOf(changed('"section":"permits"', '"section":"nodes"'), { isSigned: true }), /the section nodes is unknown/],
    ['a line without an end', () => backupOf([lines[0] as string, `["${'x'.repeat(17 * 1024 * 1024)}"]`]), /longer than/],
    ['a newer parkmq', () => backupOf(changed('"008-lists"', '"008-lists","999-later"'), { isSigned: true }), /newer parkmq/]
  ])('%s is refused, and there is no ledger', async (_what, made, why) => {
    const data = testFolder()
    await expect(async () => await restore(made(), { data })).rejects.toThrow(why)
    expect(readdirSync(data).filter(name => name !== 'lock')).toEqual([])
    await restore(bytes, { data })
  })

  test('one of an older parkmq is restored in its shape, and the next start brings it up to date', async () => {
    const old = testFolder()
    const older = lines.map(line => {
      if (line.includes('"format"')) return line.replace(',"004-sources","008-lists"', '')
      const value = JSON.parse(line) as { section?: string, columns: string[] }
      const later = new Set(['absolute_sensor', 'absolute_said', 'absolute_at_ms', 'corrected_sensor', 'corrected_at_ms', 'lapsed_bays', 'lapsed', 'stands_until_ms'])
      return value.section === undefined ? line : JSON.stringify({ ...value, columns: value.columns.filter(column => !later.has(column)) })
    })
    await restore(backupOf(older, { isSigned: true }), { data: old })
    await expect(backup({ data: old })).rejects.toMatchObject({ code: 'older_file' })
    const { app } = await startTestApp({ data: old, settings: { lots: [] } })
    await app.stop()
    expect(linesOf(await backup({ data: old }))).toContain('["A",1]')
  })
})

test('what a killed backup to the same name left is taken away when it is old and nobody writes it', async () => {
  const { data } = await smallLedger()
  const folder = testFolder()
  // Numbers of processes that cannot be, and of one that is there.
  const left = ['made.4194305.part', 'made.4194306.part', `made.${process.pid}.part`, 'other.4194305.part', 'made.x.part']
  for (const name of left) writeFileSync(join(folder, name), 'a part')
  const longAgo = new Date(Date.now() - 3_600_000)
  for (const name of left) if (name !== 'made.4194306.part') utimesSync(join(folder, name), longAgo, longAgo)
  expect(run('backup', join(folder, 'made'), '--data', data)).toMatchObject({ status: 0 })
  expect(readdirSync(folder).sort()).toEqual(['made', ...left.slice(1)].sort())
})

test.skipIf(process.platform !== 'linux')('a folder that cannot be is refused', async () => {
  const { bytes } = await smallLedger()
  await expect(restore(bytes, { data: '/proc/there/is/none' })).rejects.toMatchObject({ code: 'cannot_open', message: expect.stringMatching(/cannot make the data folder \/proc\/there\/is\/none: ENOENT/) as string })
})

test('a folder with a ledger or in use, and a file that is there, are refused with the way out', async () => {
  const { data, bytes } = await smallLedger()
  const folder = testFolder()
  const file = join(folder, 'made')
  writeFileSync(file, 'mine')
  expect(run('backup', file, '--data', data)).toMatchObject({ status: 1, stderr: expect.stringContaining('--force') as string })
  expect(readFileSync(file, 'utf8')).toBe('mine')
  expect(run('backup', file, '--data', data, '--force')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^backed up 4 lots, 0 reservations/) as string })
  expect(statSync(file).mode & 0o777).toBe(0o600)
  await expect(restore(bytes, { data })).rejects.toThrow(/there is a ledger already: .*; move it away/)
  await expect(backup({ data: folder })).rejects.toThrow(/there is no ledger in/)

  const held = testFolder()
  const release = holdFolder(held)
  onTestFinished(release)
  await expect(restore(bytes, { data: held })).rejects.toMatchObject({ code: 'data_in_use' })
})

test('the users file comes with it, never replaces another, and may be left out', async () => {
  const { data } = await smallLedger()
  await writeUsers([{ name: 'olga', role: 'operator', password: 'a-password' }], join(data, 'users.yaml'))
  const file = join(testFolder(), 'made')
  expect(run('backup', file, '--data', data)).toMatchObject({ status: 0, stdout: expect.stringContaining('the users file') as string })
  const to = testFolder()
  expect(run('restore', file, '--data', to)).toMatchObject({ status: 0 })
  expect(readFileSync(join(to, 'users.yaml'), 'utf8')).toBe(readFileSync(join(data, 'users.yaml'), 'utf8'))
  expect(statSync(join(to, 'users.yaml')).mode & 0o777).toBe(0o600)

  const other = testFolder()
  await writeUsers([{ name: 'eve', role: 'operator', password: 'b-password' }], join(other, 'users.yaml'))
  expect(run('restore', file, '--data', other)).toMatchObject({ status: 1, stderr: expect.stringContaining('--ledger-only') as string })
  expect(existsSync(join(other, 'ledger.db'))).toBe(false)
  expect(readFileSync(join(other, 'users.yaml'), 'utf8')).toContain('eve')
  expect(run('restore', file, '--data', other, '--ledger-only')).toMatchObject({ status: 0 })
  expect(existsSync(join(other, 'ledger.db'))).toBe(true)
})
