// A password from a person: never from the command line, where `ps` shows it, and never shown while typed.
import { StringDecoder } from 'node:string_decoder'
import { OperatorError } from '../shared/errors.js'

/** A terminal that keys can be read from one by one. */
export interface Keys extends NodeJS.ReadableStream {
  readonly isTTY?: boolean
  setRawMode? (on: boolean): unknown
}

/** Asks once, for a password that is checked elsewhere. Throws `OperatorError` (`interrupted`). */
export async function ask (input: Keys, output: NodeJS.WritableStream, words: string): Promise<Uint8Array> {
  // First: what is typed at the sight of the words must not be shown.
  input.setRawMode?.(true)
  output.write(words)
  const decoder = new StringDecoder('utf8')
  let typed: string[] = []
  try {
    return await new Promise((resolve, reject) => {
      const stop = (): void => {
        input.off('data', onData)
        input.off('end', onEnd)
        input.pause()
      }
      const interrupted = (): void => {
        stop()
        reject(new OperatorError('interrupted', 'interrupted; nothing was changed'))
      }
      const onEnd = interrupted
      const onData = (bytes: Buffer): void => {
        const keys = [...decoder.write(bytes)]
        for (const [index, key] of keys.entries()) {
          switch (key) {
            case '\r': case '\n': {
              stop()
              // A paste may hold the next answer as well.
              const rest = keys.slice(index + 1).join('')
              if (rest !== '') input.unshift(Buffer.from(rest))
              resolve(Buffer.from(typed.join('')))
              return
            }
            case '\u0003': case '\u0004':
              interrupted()
              return
            case '\u007f': case '\b':
              typed = typed.slice(0, -1)
              break
            case '\u0015':
              typed = []
              break
            default:
              typed.push(key)
          }
        }
      }
      input.on('data', onData)
      input.on('end', onEnd)
      input.resume()
    })
  } finally {
    input.setRawMode?.(false)
    output.write('\n')
  }
}
