// How `parkmq camera evaluate` shows its figures, for people and for programs.
import { figuresOf, type Figures, type JudgedFrame } from '../services/camera/evaluation.js'
import { table } from './table.js'

interface Evaluation {
  readonly sequences: Readonly<Record<string, Figures>>
  readonly all: Figures
  readonly frames: readonly { readonly frame: string, readonly bays: number, readonly taken: number, readonly judgedTaken: number, readonly wrong: number }[]
}

export function evaluationJson (judged: readonly JudgedFrame[], minConfidence: number): Evaluation {
  const sequences = [...new Set(judged.map(({ sequence }) => sequence))]
  return {
    sequences: Object.fromEntries(sequences.map(sequence => [sequence, figuresOf(judged.filter(frame => frame.sequence === sequence), minConfidence)])),
    all: figuresOf(judged, minConfidence),
    frames: judged.map(({ name, judged: bays }) => ({
      frame: name, bays: bays.length, taken: bays.filter(({ truth }) => truth).length, judgedTaken: bays.filter(({ taken }) => taken).length, wrong: bays.filter(({ truth, taken }) => truth !== taken).length
    }))
  }
}

export function evaluationText (judged: readonly JudgedFrame[], minConfidence: number): string {
  const { sequences, all, frames } = evaluationJson(judged, minConfidence)
  const named: [string, Figures][] = [...Object.entries(sequences), ['all', all]]
  const rows = named.map(([name, figures]) => [name, figures.frames, figures.bays, percent(figures.accuracy), percent(figures.balancedAccuracy), percent(figures.precision), percent(figures.recall),
    figures.meanCountError.toFixed(2), figures.worstCountError, figures.unknown, percent(figures.knownAccuracy)])
  const confusion = named.map(([name, figures]) => [name, figures.truePositives, figures.falseNegatives, figures.falsePositives, figures.trueNegatives])
  const wrong = frames.filter(frame => frame.wrong > 0).map(({ frame, bays, taken, judgedTaken, wrong }) => [frame, bays, taken, judgedTaken, wrong])
  return [
    table(['SEQUENCE', 'FRAMES', 'BAYS', 'ACCURACY', 'BALANCED', 'PRECISION', 'RECALL', 'COUNT OFF', 'WORST', 'UNKNOWN', 'OF KNOWN'], rows),
    '', table(['SEQUENCE', 'TAKEN: RIGHT', 'TAKEN: MISSED', 'FREE: WRONG', 'FREE: RIGHT'], confusion),
    ...wrong.length > 0 ? ['', table(['FRAME', 'BAYS', 'TAKEN', 'JUDGED TAKEN', 'WRONG'], wrong)] : [],
    '', 'BALANCED: mean of the shares of taken and of free bays judged right. COUNT OFF: cars by which a frame\'s count is wrong, on average.',
    `UNKNOWN: judged with a confidence below ${minConfidence}; OF KNOWN: accuracy of the others.`
  ].join('\n')
}

function percent (share: number | null): string | null {
  return share === null ? null : `${(share * 100).toFixed(1)} %`
}

/** Tells a person at a terminal what goes on, in one line that is written over; an empty text clears it. */
export function progress (isQuiet: boolean): (text: string) => void {
  if (isQuiet || !process.stderr.isTTY) return () => {}
  return text => process.stderr.write(`\r\u001b[K${text}`)
}
