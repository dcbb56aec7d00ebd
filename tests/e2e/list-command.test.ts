// `parkmq list` of what is rare in a long history: parkmq looks at a part of it at a time, and the command asks on.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { filledLot, fillLedger } from '../../bench/filled-ledger.js'
import { startTestApp, testFolder } from '../support/app.js'
import { PROGRAM } from '../support/process.js'

test('a page is filled from as much of the history as it takes, and says where the next one begins', async () => {
  const data = testFolder()
  await fillLedger(data, { lots: 1_000, ended: 12_000 })
  const { url } = await startTestApp({ data, settings: { lots: [] } })
  const list = async (...more: string[]): Promise<{ reservations: { reservation: string }[], next?: string }> => {
    const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, 'list', '--lot', filledLot(0), '--json', ...more], { env: { PARKMQ_URL: url, HOME: data } })
    return (JSON.parse(stdout) as { result: { reservations: { reservation: string }[], next?: string } }).result
  }
  const all = await list()
  expect(all.next).toBeUndefined()
  // The oldest of all.
  expect(all.reservations.at(-1)?.reservation).toBe('R-000000000000')
  const first = await list('--limit', String(all.reservations.length - 1))
  expect(first.reservations).toEqual(all.reservations.slice(0, -1))
  expect((await list('--after', first.next ?? 'there is no next')).reservations).toEqual(all.reservations.slice(-1))
})
