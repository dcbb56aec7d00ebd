// Questions to a person at a terminal: whoever leaves one with Ctrl-C or Ctrl-D is back at the menu. What is to be said
// meanwhile never lands in the middle of a question.
import type { Keys } from './keys.js'

/** The person left a question: nothing of what it belongs to is to be done. */
export class Left extends Error {
  override readonly name = 'Left'
}

/** What a prompt of @inquirer/prompts takes besides its question. */
export interface PromptContext {
  input: NodeJS.ReadableStream
  signal: AbortSignal
  clearPromptOnDone: boolean
}

export type Prompt<T> = (context: PromptContext) => Promise<T>

interface Open {
  readonly leave: () => void
  /** Takes the question away, to be asked again; null where what was typed would be lost. */
  readonly interrupt: (() => void) | null
}

export class Questions {
  readonly #keys: Keys
  readonly #ending: AbortSignal
  readonly #print: (text: string) => void
  #open: Open | null = null
  #unsaid: string[] = []

  /** `ending` is aborted when the terminal or the process ends. */
  constructor (keys: Keys, ending: AbortSignal, print: (text: string) => void) {
    this.#keys = keys
    this.#ending = ending
    this.#print = print
    keys.on('leave', () => this.#open?.leave())
  }

  /** Says something: now, or as soon as the question that is open is answered. */
  say (text: string): void {
    if (this.#open === null) return this.#print(text)
    this.#unsaid.push(text)
    this.#open.interrupt?.()
  }

  /** Asks, and throws `Left` when the person leaves. Of a question that may be `again`, nothing is lost when it is asked again. */
  async ask<T> (prompt: Prompt<T>, again: 'again' | 'once' = 'once'): Promise<T> {
    for (;;) {
      if (this.#ending.aborted) throw new Left('the terminal is closed')
      const stop = new AbortController()
      const onEnding = (): void => stop.abort()
      let interrupted = false
      const context: PromptContext = { input: this.#keys, signal: stop.signal, clearPromptOnDone: false }
      const leave = (): void => {
        context.clearPromptOnDone = true
        stop.abort()
      }
      const interrupt = (): void => {
        // Whoever has left already is not asked again.
        interrupted ||= !stop.signal.aborted
        leave()
      }
      this.#ending.addEventListener('abort', onEnding)
      this.#open = { leave, interrupt: again === 'again' ? interrupt : null }
      try {
        return await prompt(context)
      } catch (error) {
        if (interrupted && !this.#ending.aborted) continue
        if (stop.signal.aborted || (error instanceof Error && error.name === 'ExitPromptError')) throw new Left('left', { cause: error })
        throw error
      } finally {
        this.#open = null
        for (const text of this.#unsaid.splice(0)) this.#print(text)
        this.#ending.removeEventListener('abort', onEnding)
      }
    }
  }
}
