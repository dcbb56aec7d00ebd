// Pictures for a person to look at: each bay outlined in a colour that says what was judged, and whether that is true.
import type { Judgement, Point } from './classifier.js'
import { openSharp, type Frame } from './frame.js'

export interface OverlayBay {
  readonly polygon: readonly Point[]
  /** Null where nobody labelled it. */
  readonly truth: boolean | null
  readonly judgement: Judgement
}

/** Judged and true: green free, red taken. Judged and wrong: yellow a car that is none, magenta a car that was missed. */
const COLOURS = { free: '#00c853', taken: '#ff1744', falseAlarm: '#ffea00', missed: '#ff00ff' } as const
const LEGEND = [['free', 'free'], ['taken', 'taken'], ['falseAlarm', 'taken: wrong'], ['missed', 'free: wrong']] as const
const QUALITY = 85

/** A JPEG of the frame with its bays, the confidence in percent in each; dashed where it is less than `minConfidence`. */
export async function overlayPicture (frame: Frame, bays: readonly OverlayBay[], minConfidence: number): Promise<Buffer> {
  const { width, height, pixels } = frame
  const size = Math.max(10, Math.round(width / 100))
  const outlines = bays.map(({ polygon, truth, judgement: { bay, taken, confidence } }) => {
    const isWrong = truth !== null && truth !== taken
    const colour = COLOURS[isWrong ? taken ? 'falseAlarm' : 'missed' : taken ? 'taken' : 'free']
    const centre = { x: polygon.reduce((sum, { x }) => sum + x, 0) / polygon.length, y: polygon.reduce((sum, { y }) => sum + y, 0) / polygon.length }
    const dashes = confidence < minConfidence ? ` stroke-dasharray="${size / 2} ${size / 3}"` : ''
    return `<polygon points="${polygon.map(({ x, y }) => `${x},${y}`).join(' ')}" fill="${colour}" fill-opacity="${isWrong ? 0.35 : 0.08}" stroke="${colour}" stroke-width="${size / 5}"${dashes}/>` +
      `<text x="${centre.x}" y="${centre.y}" text-anchor="middle" fill="#fff" stroke="#000" stroke-width="2" paint-order="stroke">${bay} ${Math.round(confidence * 100)}</text>`
  })
  const legend = LEGEND.map(([key, text], i) => `<rect x="${4 + i * size * 9}" y="4" width="${size}" height="${size}" fill="${COLOURS[key]}"/>` +
    `<text x="${8 + size + i * size * 9}" y="${4 + size}" fill="#fff" stroke="#000" stroke-width="2" paint-order="stroke">${text}</text>`)
  // Bay ids are letters, digits, dots and hyphens, so nothing of them can be markup.
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="${size}">${outlines.join('')}${legend.join('')}</svg>`
  const sharp = await openSharp()
  return await sharp(pixels, { raw: { width, height, channels: 3 } }).composite([{ input: Buffer.from(svg), left: 0, top: 0 }]).jpeg({ quality: QUALITY }).toBuffer()
}
