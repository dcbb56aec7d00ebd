// `quote` over a real connection: the lot's own time, its tariff as the settings have it, and what is refused.
import { describe, expect, test } from 'vitest'
import { startTestApp, testFolder, type TestClient } from '../support/app.js'

const CHEAP = { intervalMinutes: 30, intervalCents: 5 }
const SETTINGS = {
  currency: 'CHF',
  timeZone: 'Europe/Berlin',
  tariffs: { standard: { intervalMinutes: 60, intervalCents: 200, freeMinutes: 15, dayCapCents: 1_500 }, cheap: CHEAP },
  lots: [{ lot: 'CENTRE', capacity: 10 }, { lot: 'ISLAND', capacity: 10, timeZone: 'Atlantic/Azores', tariff: 'cheap' }]
}

interface Quote { lot: string, from: string, to: string, minutes: number, priceCents: number, currency: string, tariff: string }

async function startWithTariffs (settings: Record<string, unknown> = {}, data = testFolder()) {
  const { app, connect } = await startTestApp({ data, settings: { ...SETTINGS, ...settings } })
  return { app, client: await connect() }
}

const quote = async (client: TestClient, from: string, to: string, lot = 'CENTRE') => await client.request<Quote>('quote', { lot, from, to })

describe('a quote', () => {
  test('has everything in it, in the lot\'s own time', async () => {
    const { client } = await startWithTariffs()
    expect(await quote(client, '2026-12-24T18:30', '2026-12-24T21:00')).toEqual({
      lot: 'CENTRE', from: '2026-12-24T17:30:00.000Z', to: '2026-12-24T20:00:00.000Z', minutes: 150, priceCents: 600, currency: 'CHF', tariff: 'standard'
    })
    expect(await quote(client, '2026-12-24T18:30', '2026-12-24T21:00', 'ISLAND')).toEqual({
      lot: 'ISLAND', from: '2026-12-24T19:30:00.000Z', to: '2026-12-24T22:00:00.000Z', minutes: 150, priceCents: 25, currency: 'CHF', tariff: 'cheap'
    })
  })

  test.each([
    ['a usual day', '2026-12-24T00:00', '2026-12-25T00:00', 1_440, 1_500],
    ['the day of 25 hours', '2026-10-25T00:00', '2026-10-26T00:00', 1_500, 1_700],
    ['the day of 23 hours', '2027-03-28T00:00', '2027-03-29T00:00', 1_380, 1_500],
    ['with offsets', '2026-12-24T18:30Z', '2026-12-24T20:30+01:00', 60, 200],
    ['a minute', '2026-12-24T18:30', '2026-12-24T18:31', 1, 0],
    ['a year with its leap day', '2027-06-01T00:00', '2028-06-01T00:00', 527_040, 549_000]
  ])('of %s', async (_, from, to, minutes, priceCents) => {
    const { client } = await startWithTariffs()
    expect(await quote(client, from, to)).toMatchObject({ minutes, priceCents })
  })

  test('of a time that is over, and of a lot that is full or closed, is a price as well; it changes nothing', async () => {
    const { app, client } = await startWithTariffs({ lots: [{ lot: 'CENTRE', capacity: 1, occupied: 1, open: false }] })
    expect(await quote(client, '2020-01-01T08:00', '2020-01-01T09:00')).toMatchObject({ priceCents: 200 })
    expect((await app.ledger.allLots()).map(lot => lot.version)).toEqual([1])
  })

  test('is by the tariff that the lot has now', async () => {
    const { client } = await startWithTariffs()
    await client.request('lot.set', { lot: 'CENTRE', tariff: 'cheap' })
    expect(await quote(client, '2026-12-24T18:30', '2026-12-24T21:00')).toMatchObject({ priceCents: 25, tariff: 'cheap' })
  })
})

describe('no quote', () => {
  test.each([
    ['to an end before its begin', 'CENTRE', '2026-12-24T18:30', '2026-12-24T18:29', 'bad_request', 'to: 2026-12-24T18:29 is not after from, 2026-12-24T18:30'],
    ['to an end at its begin', 'CENTRE', '2026-12-24T18:30', '2026-12-24T18:30', 'bad_request', 'is not after from'],
    ['to an end that is before its begin by the offset', 'CENTRE', '2026-12-24T18:30', '2026-12-24T19:00+05:00', 'bad_request', 'is not after from'],
    ['for a time that the clock skips', 'CENTRE', '2027-03-28T02:30', '2027-03-28T09:00', 'bad_request', 'from: the clocks of Europe/Berlin skip 2027-03-28T02:30'],
    ['for a time that is none', 'CENTRE', '2026-12-24T18:30', 'tomorrow', 'bad_request', 'to: must be a whole minute'],
    ['for more than a year', 'CENTRE', '2027-06-01T00:00', '2028-06-01T00:01', 'over_limit', 'is 527041 minutes; a price is worked out for 527040 (366 days) at most'],
    ['for a lot that is not there', 'NOWHERE', '2026-12-24T18:30', '2026-12-24T21:00', 'unknown_lot', 'there is no lot NOWHERE']
  ])('%s', async (_, lot, from, to, error, message) => {
    const { client } = await startWithTariffs()
    expect(await quote(client, from, to, lot)).toEqual({ error, message: expect.stringContaining(message) as string })
  })

  test.each(['night', 'constructor'])('where the lot has the tariff %s and the settings have it no more', async name => {
    const data = testFolder()
    const before = await startWithTariffs({ tariffs: { [name]: CHEAP }, lots: [{ lot: 'CENTRE', capacity: 10, tariff: name }] }, data)
    expect(await quote(before.client, '2026-12-24T18:30', '2026-12-24T21:00')).toMatchObject({ priceCents: 25, tariff: name })
    await before.app.stop()
    const { client } = await startWithTariffs({ lots: [] }, data)
    const { error, message } = await client.request<{ message: string }>('quote', { lot: 'CENTRE', from: '2026-12-24T18:30', to: '2026-12-24T21:00' })
    expect(error).toBe('no_tariff')
    expect(message).toBe(`the lot CENTRE has the tariff ${name}, which is not in the settings (tariffs: standard, cheap); add it there, or give the lot another with lot.set`)
    await client.request('lot.set', { lot: 'CENTRE', tariff: 'standard' })
    expect(await quote(client, '2026-12-24T18:30', '2026-12-24T21:00')).toMatchObject({ priceCents: 600 })
  })

  test('where there are no tariffs at all', async () => {
    const { client } = await startWithTariffs({ tariffs: {}, lots: [{ lot: 'CENTRE', capacity: 10 }] })
    expect(await quote(client, '2026-12-24T18:30', '2026-12-24T21:00')).toMatchObject({ error: 'no_tariff', message: expect.stringContaining('tariff standard, which is not in the settings (tariffs: none)') as string })
  })
})
