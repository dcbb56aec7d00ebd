// What every action of the shell has: a desk on the one connection, the questions, and an end of what lasts.
import { confirm } from '@inquirer/prompts'
import { randomBytes } from 'node:crypto'
import { isMethod, READ_ONLY } from '../../shared/schemas.js'
import { TimeoutError, type Requester } from '../../shared/requester.js'
import { refusalText, type Call } from '../client.js'
import type { Desk, Done } from '../desk.js'
import type { Questions } from './questions.js'

export interface Shell {
  readonly desk: Desk
  /** For what comes behind a reply. */
  readonly requester: Requester
  readonly questions: Questions
  readonly say: (text: string) => void
  /** Runs something that lasts until Ctrl-C or the end of the shell aborts the signal. */
  readonly lasting: <T>(work: (signal: AbortSignal) => Promise<T>) => Promise<T>
}

/** Says what became of an act. Returns whether it was done. */
export function report ({ say }: Pick<Shell, 'say'>, { reply, text }: Done): boolean {
  say(reply.ok ? text : refusalText(reply.error))
  return reply.ok
}

/**
 * Requests of a person who can be asked: one without a reply is sent again when they want that, as the same request, so that it
 * has its effect once. Throws as `call` does.
 */
export function withRetries (call: Call, questions: Questions): Call {
  return async (method, body) => {
    const changes = !isMethod(method) || !READ_ONLY.has(method)
    const same = changes ? { requestId: randomBytes(16).toString('base64url'), ...body } : body
    for (;;) {
      try {
        return await call(method, same)
      } catch (error) {
        if (!(error instanceof TimeoutError)) throw error
        questions.say(error.message)
        const once = changes ? ' It is the same request: it has its effect once, whether or not the first one had it.' : ''
        if (!await questions.ask(async context => await confirm({ message: `Send it again?${once}`, default: true }, context))) throw error
      }
    }
  }
}
