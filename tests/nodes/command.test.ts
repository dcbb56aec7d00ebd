// `parkmq start --database` and `parkmq doctor --database` as an operator has them.
import { spawnSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { testFolder } from '../support/app.js'
import { AskingClient } from '../support/asking.js'
import { PROGRAM, startProcess } from '../support/process.js'
import { ABSENT, serverOfFile, SKIPPED } from './support.js'

test('who keeps the ledger in a file never loads the driver of PostgreSQL', () => {
  const app = new URL('../../dist/cli/app.js', import.meta.url).href
  const loaded = (code: string): string => spawnSync(process.execPath, ['--input-type=module', '-e', `
    ${code}
    const { Module } = await import('node:module')
    console.log(Object.keys(Module._cache).filter(path => /node_modules.(pg)[^/\\\\]*.lib/.test(path)).length)
  `], { encoding: 'utf8' }).stdout.trim()
  expect(loaded(`await import(${JSON.stringify(app)})`)).toBe('0')
  expect(Number(loaded(`await import(${JSON.stringify(app.replace('cli/app', 'storage/postgres'))})`))).toBeGreaterThan(0)
})

describe.skipIf(ABSENT !== null)(`the commands with a database${SKIPPED}`, { timeout: 120_000 }, () => {
  const server = serverOfFile()
  const run = (...args: string[]) => spawnSync(process.execPath, [PROGRAM, ...args], { encoding: 'utf8', timeout: 20_000 })

  test('two processes share it, a third of the same name is refused, and no password is shown', async () => {
    const url = (await server().database()).replace('parkmq@', 'parkmq:hidden-word@')
    const north = await startProcess(testFolder(), ['--database', url, '--node', 'north'])
    const south = await startProcess(testFolder(), ['--database', url, '--node', 'south'])
    const [one, other] = await Promise.all([north, south].map(async ({ port }) => await AskingClient.connect(`mqtt://127.0.0.1:${port}`)))
    const made = await one?.ask('reserve', { lot: 'LOT-A', plate: 'ABC1' })
    expect(await other?.ask('get', { reservation: made?.result.reservation, secret: made?.result.secret })).toMatchObject({ ok: true, result: { plate: 'ABC1' } })

    const third = run('start', '--port', '0', '--ws-port', '0', '--data', testFolder(), '--database', url, '--node', 'north')
    expect(third.status).not.toBe(0)
    expect(third.stderr).toContain('another parkmq on this database has the name north')

    const doctor = run('doctor', '--json', '--data', testFolder(), '--database', url)
    const { checks } = JSON.parse(doctor.stdout) as { checks: { name: string, ok: boolean | null, said: string }[] }
    // The tests' server does not sync.
    expect(checks.find(check => check.name === 'database')).toMatchObject({ ok: null, said: expect.stringMatching(/^PostgreSQL \d+.* can be written, but .*fsync off/) as string })
    const text = run('doctor', '--data', testFolder(), '--database', url)
    const all = [JSON.stringify([...north.log, ...south.log]), third.stdout, third.stderr, doctor.stdout, doctor.stderr, text.stdout, text.stderr].join('\n')
    expect(all).toContain(`postgres://127.0.0.1:${server().port}/`)
    expect(all).not.toContain('hidden-word')

    // The name of one that was killed is free again.
    await north.kill()
    const again = await startProcess(testFolder(), ['--database', url, '--node', 'north'])
    expect(await again.stop()).toBe(0)
    expect(await south.stop()).toBe(0)
  })

  test('a database that cannot be reached, or a URL that is none, ends the start with the fix', () => {
    const nobody = run('start', '--port', '0', '--ws-port', '0', '--data', testFolder(), '--database', 'postgres://parkmq:hidden-word@127.0.0.1:1/db')
    expect(nobody.stderr).toMatch(/cannot open the ledger in the database db: no host .*127\.0\.0\.1:1.*check --database/)
    const wrong = run('start', '--data', testFolder(), '--database', 'mysql://parkmq:hidden-word@h/db')
    expect(wrong.stderr).toContain('database: must begin with postgres://')
    expect(run('doctor', '--data', testFolder(), '--database', 'postgres://parkmq@127.0.0.1:1/db').stdout).toContain('no host of the database can be written')
    expect(nobody.stderr + wrong.stderr).not.toContain('hidden-word')
  })
})
