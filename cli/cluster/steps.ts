// Says on stderr what is done and how long it took, and waits for what was started.
import { OperatorError } from '../../shared/errors.js'

const LOOK_MS = 200
/** How often it says what is still waited for. */
const SAY_EVERY_MS = 5_000

export interface Steps {
  readonly signal: AbortSignal
  say (line: string): void
  /** Says it, does it, says how long it took. */
  step (what: string, work: () => Promise<void>): Promise<void>
  /** Until `look` finds nothing to wait for any more. Throws `OperatorError` after `withinMs`, and when the work is called off. */
  until (look: () => Promise<string | null>, withinMs: number): Promise<void>
}

export function createSteps (signal: AbortSignal, write: (text: string) => void = text => { process.stderr.write(text) }): Steps {
  const startedMs = performance.now()
  const at = (): string => `${((performance.now() - startedMs) / 1_000).toFixed(1).padStart(6)} s  `
  const say = (line: string): void => write(`${at()}${line}\n`)
  return {
    signal,
    say,
    async step (what, work) {
      say(what)
      const begunMs = performance.now()
      await work()
      say(`  done in ${((performance.now() - begunMs) / 1_000).toFixed(1)} s`)
    },
    async until (look, withinMs) {
      const begunMs = performance.now()
      let saidMs = begunMs
      for (;;) {
        signal.throwIfAborted()
        const waitingFor = await look()
        if (waitingFor === null) return
        const nowMs = performance.now()
        if (nowMs - begunMs > withinMs) throw new OperatorError('took_too_long', `gave up after ${Math.round(withinMs / 1_000)} s: ${waitingFor}`)
        if (nowMs - saidMs > SAY_EVERY_MS) {
          say(`  waiting: ${waitingFor}`)
          saidMs = nowMs
        }
        await new Promise(resolve => setTimeout(resolve, LOOK_MS))
      }
    }
  }
}
