// A task that runs again and again: never twice at once, never ended by its own error.
import type { Clock, Timer } from './clock.js'
import type { Log } from './log.js'

export interface Repeating { stop (): Promise<void> }

/** Runs `task` every `everyMs` after its last end, until stopped. Errors are logged and the next run comes as ever. */
export function every (everyMs: number, name: string, clock: Clock, log: Log, task: () => Promise<void>): Repeating {
  let timer: Timer | null = null
  let running: Promise<void> = Promise.resolve()
  let stopped = false
  let failing = false
  const run = async (): Promise<void> => {
    try {
      await task()
      if (failing) log.info({ task: name }, 'works again')
      failing = false
    } catch (err) {
      // Said once for a fault that lasts, not at every run.
      if (!failing) log.error({ err, task: name }, 'failed; it is tried again')
      failing = true
    }
    arm()
  }
  const arm = (): void => {
    if (!stopped) timer = clock.after(everyMs, () => { running = run() })
  }
  arm()
  return {
    async stop () {
      stopped = true
      timer?.cancel()
      await running
    }
  }
}
