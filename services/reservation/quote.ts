// `quote`: what a stay in a lot costs, by the lot's tariff and in the lot's own time.
import { MAX_MINUTES, type RequestBody } from '../../shared/schemas.js'
import { answered, refusedAnswer, type Answer } from './answers.js'
import { windowOfMinutes } from './calendar.js'
import { refuse, type Refused } from './core.js'
import { priceOfStay } from './tariffs.js'
import { unknownLot, type Work } from './work.js'

/** The longest stay that a price is worked out for, in minutes: a year, with its leap day. */
const MAX_STAY_MINUTES = MAX_MINUTES

/** The lot is loaded. Its place need not be free, and the time may be over: it is only a price. */
export function quoteAnswer ({ tx, settings: { prices: { tariffs, currency } } }: Work, { lot: id, from, to }: RequestBody<'quote'>): Answer {
  const lot = tx.lot(id)
  if (!lot) return refusedAnswer(unknownLot(id).refusal)
  const window = windowOfMinutes(from, to, lot.timeZone)
  if (!window.ok) return refusedAnswer(window.refusal)
  const { fromMs, toMs } = window.value
  if (fromMs >= toMs) return refusedAnswer(refuse('bad_request', `to: ${to} is not after from, ${from}`).refusal)
  // Both are whole minutes, and so is what is between them.
  const minutes = (toMs - fromMs) / 60_000
  if (minutes > MAX_STAY_MINUTES) {
    return refusedAnswer(refuse('over_limit', `from ${from} to ${to} is ${minutes} minutes; a price is worked out for ${MAX_STAY_MINUTES} (366 days) at most`).refusal)
  }
  // A name such as `constructor` is one of the object's own only if the settings have it.
  const tariff = Object.hasOwn(tariffs, lot.tariff) ? tariffs[lot.tariff] : undefined
  if (!tariff) return refusedAnswer(noTariff(id, lot.tariff, Object.keys(tariffs)).refusal)
  return answered({
    lot: id, from: new Date(fromMs).toISOString(), to: new Date(toMs).toISOString(), minutes,
    priceCents: priceOfStay(window.value, tariff), currency, tariff: lot.tariff
  })
}

function noTariff (lot: string, tariff: string, tariffs: readonly string[]): Refused {
  return refuse('no_tariff', `the lot ${lot} has the tariff ${tariff}, which is not in the settings (tariffs: ${tariffs.join(', ') || 'none'}); add it there, or give the lot another with lot.set`)
}
