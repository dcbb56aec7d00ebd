// `parkmq shell`: a menu at a terminal for people who do not want to know commands, let alone JSON. One connection for the whole
// session; one that is lost is said and made again. Ctrl-C leaves a question, and at the menu the shell.
import type { Command } from 'commander'
import { messageOf } from '../../shared/errors.js'
import { connectedCommand, tellOfConnection, UsageError, withService, type ClientOptions } from '../client.js'
import { deskOf } from '../desk.js'
import { brokerOf } from '../../shared/mqtt-client.js'
import { ACTIONS, type Action } from './actions.js'
import { choose, type Choice } from './choices.js'
import { Keys } from './keys.js'
import { Left, Questions } from './questions.js'
import { withRetries, type Shell } from './shell.js'

export function shellCommand (): Command {
  return connectedCommand('shell', 'do everything from a menu, at a terminal')
    .addHelpText('after', `\nType a part of what you look for, or use the arrows, and press Enter. Ctrl-C leaves a question for the menu, and at the menu the shell.\nIt can: ${ACTIONS.map(({ name }) => name).join(', ')}.\n\nExample:\n  parkmq shell --url mqtt://parking.example --user ann`)
    .action(async (options: ClientOptions) => {
      if (!process.stdin.isTTY || !process.stdout.isTTY) throw new UsageError('the shell is for people at a terminal; programs and pipes use the commands, most of which have --json (parkmq --help lists them)')
      await runShell(options)
    })
}

async function runShell (options: ClientOptions): Promise<void> {
  const ending = new AbortController()
  let lasting: AbortController | null = null
  const onInterrupt = (): void => lasting?.abort()
  const onEnd = (): void => {
    ending.abort()
    lasting?.abort()
  }
  // Ctrl-C at a question is a key; between questions it ends what lasts, and never the shell.
  process.on('SIGINT', onInterrupt)
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, onEnd)
  await withService(options, async (call, client, requester) => {
    // Only now: the password may have been asked for on the same terminal.
    const keys = new Keys(process.stdin)
    keys.on('end', onEnd)
    keys.on('close', onEnd)
    const questions = new Questions(keys, ending.signal, text => process.stdout.write(`${text}\n`))
    const say = (text: string): void => questions.say(text)
    tellOfConnection(client, say)
    const shell: Shell = {
      desk: deskOf(withRetries(call, questions), client, say),
      requester,
      questions,
      say,
      lasting: async work => {
        lasting = new AbortController()
        if (ending.signal.aborted) lasting.abort()
        try {
          return await work(lasting.signal)
        } finally {
          lasting = null
        }
      }
    }
    try {
      say(`parkmq at ${brokerOf(client)}; Ctrl-C ends`)
      await menu(shell, ending.signal)
    } finally {
      keys.off('close', onEnd)
      keys.close()
    }
  }, { reconnect: true })
}

/** Asks what to do and does it, until the person leaves. */
async function menu (shell: Shell, ending: AbortSignal): Promise<void> {
  const choices: Choice<Action | null>[] = [
    ...ACTIONS.map(action => ({ value: action, short: action.name, name: `${action.name.padEnd(15)}  ${action.does}` })),
    { value: null, short: 'quit', name: 'quit' }
  ]
  while (!ending.aborted) {
    let action: Action | null
    try {
      action = await choose(shell, 'What would you like to do?', choices, undefined, 'again')
    } catch (error) {
      if (error instanceof Left) return
      throw error
    }
    if (action === null) return
    try {
      await action.run(shell)
    } catch (error) {
      if (!isToldToPeople(error)) throw error
      if (!(error instanceof Left)) shell.say(messageOf(error))
    }
    shell.say('')
  }
}

/** Whether it is no fault of the program: the person left, or wrote something impossible, or the broker did not answer. */
function isToldToPeople (error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return !(error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError || error instanceof SyntaxError)
}
