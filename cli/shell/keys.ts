// The keys of a terminal, one at a time: a prompt that is given several at once would take Enter for an answer to what it
// showed before the others were typed. What is typed early, or pasted, is for the next question.
import { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'

/** A terminal as `process.stdin` is one. */
export interface TerminalInput extends NodeJS.ReadableStream {
  readonly isTTY?: boolean
  setRawMode? (on: boolean): unknown
}

const ESCAPE = '\u001b'
/** A sign, or what a terminal sends for a key that is none, such as an arrow. */
const KEY = new RegExp(`${ESCAPE}(?:\\[[0-9;]*[A-Za-z~]|O[A-Za-z]|[^[O])?|[^]`, 'gu')
const CTRL_C = '\u0003'
const CTRL_D = '\u0004'
/** A prompt that has not ended so long after Enter, in milliseconds, did not like what was typed: the next key is for it again. */
const NOT_TAKEN_MS = 500

/** Stands for the terminal's input. Ctrl-C, and Ctrl-D likewise, is no key but the event `leave`. Ends when the terminal does. */
export class Keys extends Readable {
  readonly isTTY = true
  readonly #input: TerminalInput
  readonly #decoder = new StringDecoder('utf8')
  #waiting: string[] = []
  #isWanted = false
  #next: NodeJS.Immediate | NodeJS.Timeout | null = null
  /** Enter was given, and its prompt may still be open. */
  #rest = false

  constructor (input: TerminalInput) {
    super({ encoding: 'utf8', highWaterMark: 1 })
    this.#input = input
    input.on('data', this.#onData)
    input.on('end', this.#onEnd)
    input.pause()
    this.on('pause', this.#onPromptEnd)
  }

  setRawMode (on: boolean): this {
    this.#input.setRawMode?.(on)
    return this
  }

  /** Leaves the terminal as it was. */
  close (): void {
    this.#input.off('data', this.#onData)
    this.#input.off('end', this.#onEnd)
    this.#input.setRawMode?.(false)
    this.#input.pause()
    this.destroy()
  }

  override _read (): void {
    this.#isWanted = true
    this.#give()
  }

  readonly #onData = (bytes: Buffer | string): void => {
    const text = typeof bytes === 'string' ? bytes : this.#decoder.write(bytes)
    this.#waiting.push(...text.match(KEY) ?? [])
    this.#input.pause()
    this.#give()
  }

  readonly #onEnd = (): void => { this.push(null) }

  /** A prompt that ends pauses its input: what comes now waits there for the next one. */
  readonly #onPromptEnd = (): void => {
    if (!this.#rest) return
    this.#rest = false
    if (this.#next === null) return
    clearTimeout(this.#next as NodeJS.Timeout)
    this.#next = null
    this.#give()
  }

  #give (): void {
    if (!this.#isWanted || this.#next !== null) return
    if (this.#waiting.length === 0) {
      this.#input.resume()
      return
    }
    const give = (): void => {
      this.#next = null
      const key = this.#waiting.shift()
      if (key === undefined || this.destroyed) return
      this.#rest = key === '\r' || key === '\n'
      if (key === CTRL_C || key === CTRL_D) {
        this.emit('leave')
        this.#give()
        return
      }
      this.#isWanted = false
      this.push(key)
    }
    this.#next = this.#rest ? setTimeout(give, NOT_TAKEN_MS) : setImmediate(give)
  }
}
