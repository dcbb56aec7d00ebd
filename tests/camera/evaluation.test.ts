import { describe, expect, test } from 'vitest'
import { figuresOf, judgedFrame, type JudgedFrame } from '../../services/camera/evaluation.js'
import type { Id } from '../../shared/lot.js'

/** `T` taken and judged so, `t` judged free; `F` free and judged so, `f` judged taken; `?` nobody labelled it. */
function frame (name: string, bays: string, confidence: (i: number) => number = () => 0.9): JudgedFrame {
  const labels = [...bays].map((bay, i) => ({ bay: `b${i}` as Id, polygon: [], taken: bay === '?' ? null : bay.toUpperCase() === 'T' }))
  return judgedFrame(name, 's', labels, labels.map(({ bay }, i) => ({ bay, taken: 'Tf'.includes(bays[i] as string), confidence: confidence(i) })))
}

describe('the figures', () => {
  test('of two frames, worked out by hand', () => {
    // Frame a: 3 taken, one missed; 5 free, two judged taken: it counts 4 for 3. Frame b: 1 taken, missed; 3 free: 0 for 1.
    const figures = figuresOf([frame('a', 'TTtFFFff?'), frame('b', 'tFFF')], 0.7)
    expect(figures).toEqual({
      frames: 2, bays: 12, truePositives: 2, falseNegatives: 2, falsePositives: 2, trueNegatives: 6,
      accuracy: 8 / 12, balancedAccuracy: (2 / 4 + 6 / 8) / 2, precision: 2 / 4, recall: 2 / 4, meanCountError: 1, worstCountError: 1, unknown: 0, knownAccuracy: 8 / 12
    })
  })

  test('errors of both signs within a frame cancel in its count, not between frames', () => {
    expect(figuresOf([frame('a', 'tf')], 0.7)).toMatchObject({ accuracy: 0, meanCountError: 0 })
    expect(figuresOf([frame('a', 'ttt'), frame('b', 'ff')], 0.7)).toMatchObject({ meanCountError: 2.5, worstCountError: 3 })
  })

  test('a lot without cars has no recall, and is balanced by its free bays alone', () => {
    expect(figuresOf([frame('a', 'FFFf')], 0.7)).toMatchObject({ accuracy: 0.75, balancedAccuracy: 0.75, recall: null, precision: 0 })
    expect(figuresOf([frame('a', 'FFFF')], 0.7)).toMatchObject({ precision: null })
  })

  test('judgements below the confidence are unknown, and left out of what is known', () => {
    expect(figuresOf([frame('a', 'TTtF', i => i === 2 ? 0.69 : 0.7)], 0.7)).toMatchObject({ unknown: 1, knownAccuracy: 1, accuracy: 0.75 })
    expect(figuresOf([frame('a', 'T', () => 0.5)], 0.7)).toMatchObject({ unknown: 1, knownAccuracy: null })
  })
})
