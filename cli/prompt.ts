// Passwords from a person or a pipe; never from the command line, where `ps` shows them, and never shown while typed.
import { StringDecoder } from 'node:string_decoder'
import { MAX_PASSWORD_BYTES, MIN_PASSWORD_BYTES } from '../broker/password.js'
import { OperatorError } from '../shared/errors.js'

/** A terminal that keys can be read from one by one. */
export interface Keys extends NodeJS.ReadableStream {
  readonly isTTY?: boolean
  setRawMode? (on: boolean): unknown
}

/** Whatever a person chose. Throws `OperatorError` (`bad_password`) when it is too short or too long. */
export function checkPassword (password: Uint8Array): Uint8Array {
  if (password.length < MIN_PASSWORD_BYTES) throw new OperatorError('bad_password', `the password is too short; take at least ${MIN_PASSWORD_BYTES} characters, or --generate`)
  if (password.length > MAX_PASSWORD_BYTES) throw new OperatorError('bad_password', `the password is longer than ${MAX_PASSWORD_BYTES} bytes`)
  return password
}

/** Everything that comes through a pipe, without the line end after it. Throws `OperatorError`: `usage`, `bad_password`. */
export async function passwordFromPipe (input: Keys): Promise<Uint8Array> {
  if (input.isTTY) throw new OperatorError('usage', '--password-stdin takes the password from a pipe or file; without it you are asked')
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of input) {
    chunks.push(Buffer.from(chunk))
    // Two more than the most: a line end may follow.
    if ((size += chunk.length) > MAX_PASSWORD_BYTES + 2) break
  }
  const bytes = Buffer.concat(chunks)
  const end = bytes.at(-1) === 0x0a ? bytes.at(-2) === 0x0d ? 2 : 1 : 0
  return checkPassword(bytes.subarray(0, bytes.length - end))
}

/** Asks twice. Throws `OperatorError`: `usage` without a terminal, `bad_password`, `interrupted`. */
export async function passwordFromPerson (input: Keys, output: NodeJS.WritableStream, whose: string): Promise<Uint8Array> {
  if (!input.isTTY || !input.setRawMode) throw new OperatorError('usage', 'there is no terminal to ask for the password; use --password-stdin, --generate, or --certificate')
  const password = checkPassword(await ask(input, output, `password for ${whose}: `))
  const again = await ask(input, output, 'the same again: ')
  if (!Buffer.from(password).equals(again)) throw new OperatorError('bad_password', 'the two are not the same; nothing was changed')
  return password
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
