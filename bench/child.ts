// Load generators in processes of their own, asked and answered over Node's IPC. A child ends with the process that
// started it, whatever ends that.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../shared/errors.js'
import { within } from './raw-client.js'

/** Longest answer, in milliseconds, unless told otherwise: connecting fifty subscribers to a busy broker takes its time. */
const PATIENCE_MS = 30_000

interface Question { readonly id: number, readonly request: unknown }
interface Answer { readonly id: number, readonly reply?: unknown, readonly error?: string }

/** The starting side; `Requests` maps the name of each request to what goes in and what comes back. */
export class Child<Requests extends Record<string, { in: unknown, out: unknown }>> {
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, (answer: Answer) => void>()
  readonly #patienceMs: number
  #asked = 0

  /** `script` is the compiled file beside this one. */
  constructor (script: string, patienceMs = PATIENCE_MS) {
    this.#patienceMs = patienceMs
    this.#process = fork(fileURLToPath(new URL(script, import.meta.url)), { serialization: 'advanced' })
    this.#process.on('message', message => {
      const answer = message as Answer
      this.#waiting.get(answer.id)?.(answer)
      this.#waiting.delete(answer.id)
    })
    this.#process.once('exit', (code, signal) => {
      for (const [id, answered] of this.#waiting) answered({ id, error: `${script} ended with ${signal ?? code}` })
      this.#waiting.clear()
    })
  }

  /** Throws what the child threw, and when it does not answer in time: `patienceMs`, or what the child was made with. */
  async ask<Name extends keyof Requests & string> (name: Name, parts: Requests[Name]['in'], patienceMs = this.#patienceMs): Promise<Requests[Name]['out']> {
    const id = ++this.#asked
    const answered = new Promise<Answer>(resolve => this.#waiting.set(id, resolve))
    // Without a callback the error of a child that is gone would end this process, and hide why it is.
    this.#process.send({ id, request: { name, parts } } satisfies Question, error => {
      if (error === null) return
      this.#waiting.get(id)?.({ id, error: `${name} cannot be asked: ${error.message}` })
      this.#waiting.delete(id)
    })
    const { reply, error } = await within(answered, `the answer to ${name}`, patienceMs)
    if (error !== undefined) throw new Error(error)
    return reply
  }

  async stop (): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const gone = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await gone
  }
}

type Handlers<Requests extends Record<string, { in: unknown, out: unknown }>> = {
  [Name in keyof Requests]: (parts: Requests[Name]['in']) => Promise<Requests[Name]['out']> | Requests[Name]['out']
}

/** The started side: answers until the starting process ends. */
export function answer<Requests extends Record<string, { in: unknown, out: unknown }>> (handlers: Handlers<Requests>): void {
  process.on('message', message => {
    const { id, request } = message as Question
    const { name, parts } = request as { name: keyof Requests, parts: never }
    const reply = async (): Promise<unknown> => await handlers[name](parts)
    reply().then(
      value => process.send?.({ id, reply: value } satisfies Answer),
      (error: unknown) => process.send?.({ id, error: messageOf(error) } satisfies Answer))
  })
  process.once('disconnect', () => process.exit(0))
}
