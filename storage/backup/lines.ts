// The lines of a gzipped stream, with their numbers, and never more of it in memory than a part.
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { messageOf, OperatorError } from '../../shared/errors.js'
import { MOST_LINE_BYTES } from './format.js'

const LINE_END = 0x0a

export interface Line {
  readonly number: number
  /** Without its end. */
  readonly bytes: Buffer
}

export function badBackup (why: string, cause?: unknown): OperatorError {
  return new OperatorError('bad_backup', `${why}; nothing was restored: take another backup, or copy this one again`, { cause })
}

/** The lines as they come, many at a time. Throws `OperatorError` `bad_backup` where the stream is not whole, or a line is too long. */
export async function* linesOf (input: NodeJS.ReadableStream): AsyncGenerator<Line[], void> {
  const gunzip = createGunzip()
  // An error of either end comes out of the loop below.
  const piped = pipeline(input, gunzip).catch((error: unknown) => { gunzip.destroy(error as Error) })
  let number = 0
  let rest: Buffer[] = []
  let restBytes = 0
  try {
    for await (const chunk of gunzip as AsyncIterable<Buffer>) {
      const lines: Line[] = []
      let start = 0
      for (let end = chunk.indexOf(LINE_END); end !== -1; end = chunk.indexOf(LINE_END, start)) {
        const last = chunk.subarray(start, end)
        lines.push({ number: ++number, bytes: rest.length === 0 ? last : Buffer.concat([...rest, last]) })
        rest = []
        restBytes = 0
        start = end + 1
      }
      if (start < chunk.length) {
        restBytes += chunk.length - start
        if (restBytes > MOST_LINE_BYTES) throw badBackup(`line ${number + 1} is longer than ${MOST_LINE_BYTES} bytes: this is no parkmq backup`)
        rest.push(chunk.subarray(start))
      }
      if (lines.length > 0) yield lines
    }
    await piped
  } catch (error) {
    const code: unknown = (error as { code?: unknown } | null)?.code
    if (code === 'Z_BUF_ERROR') throw badBackup(`the backup ends in line ${number + 1}: the rest of it is missing`, error)
    if (code === 'Z_DATA_ERROR' && messageOf(error) === 'incorrect header check') throw badBackup('this is no parkmq backup (it is not gzip)', error)
    if (typeof code === 'string' && code.startsWith('Z_')) throw badBackup(`the backup is damaged at line ${number + 1} (${messageOf(error)})`, error)
    throw error
  } finally {
    gunzip.destroy()
  }
  if (restBytes > 0) throw badBackup(`line ${number + 1} has no end: the rest of the backup is missing`)
}
