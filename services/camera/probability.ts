// From the sum of the trees to how often such a judgement is right (J. Platt, Probabilistic Outputs for Support Vector
// Machines, 1999): a line through scores of samples that the trees had not seen.

export interface Scored { readonly score: number, readonly taken: boolean, readonly weight: number }

const ROUNDS = 50
/** Weight of samples that say "as it is": few samples that all agree must not make it certain. */
const PRIOR = 10
/** Trees are too sure of what they have not seen rather than too little: days differ more than the samples of one calibration. */
const MOST_SLOPE = 1

/** `slope * score + offset` are log-odds. */
export function fitOdds (scored: readonly Scored[]): { slope: number, offset: number } {
  let [slope, offset] = [1, 0]
  for (let round = 0; round < ROUNDS; round++) {
    // Newton's method on the log-likelihood, with the prior that the line is the identity.
    let [gs, go, hss, hso, hoo] = [PRIOR * (1 - slope), -PRIOR * offset, PRIOR, 0, PRIOR]
    for (const { score, taken, weight } of scored) {
      const chance = 1 / (1 + Math.exp(-(slope * score + offset)))
      const [wrong, curve] = [weight * ((taken ? 1 : 0) - chance), weight * chance * (1 - chance)]
      gs += wrong * score
      go += wrong
      hss += curve * score * score
      hso += curve * score
      hoo += curve
    }
    const determinant = hss * hoo - hso * hso
    const [ds, doff] = [(gs * hoo - go * hso) / determinant, (go * hss - gs * hso) / determinant]
    // Half a unit at most: far from the end, the curve is no guide.
    const step = Math.min(1, 0.5 / Math.max(Math.abs(ds), Math.abs(doff), 1e-9))
    slope = Math.max(0.05, Math.min(MOST_SLOPE, slope + ds * step))
    offset += doff * step
    if (Math.abs(ds) + Math.abs(doff) < 1e-6) break
  }
  return { slope: Number(slope.toPrecision(6)), offset: Number(offset.toPrecision(6)) }
}
