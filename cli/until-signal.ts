// How a program ends at Ctrl-C: one that serves, and one that works.
import { EXIT } from './exit.js'

/** Waits for Ctrl-C or SIGTERM, then for `stop`. A second signal ends the process at once. */
export async function untilSignal (stop: (signal: string) => Promise<void>): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    let stopping = false
    const onSignal = (signal: NodeJS.Signals): void => {
      if (stopping) process.exit(1)
      stopping = true
      stop(signal).then(resolve, reject)
    }
    process.on('SIGINT', onSignal)
    process.on('SIGTERM', onSignal)
  })
  process.removeAllListeners('SIGINT')
  process.removeAllListeners('SIGTERM')
}

/**
 * Work that Ctrl-C or SIGTERM calls off: `said` goes to stderr, `stop` is aborted, and the work ends by throwing the reason of that. Then
 * null, and the exit code is that of a program that Ctrl-C ended. A second signal ends the process at once.
 */
export async function untilInterrupted<T> (said: string, work: (stop: AbortController) => Promise<T>): Promise<T | null> {
  const stop = new AbortController()
  const interrupted = new Error('interrupted')
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) {
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
      process.kill(process.pid, signal)
      return
    }
    process.stderr.write(`\n${said}\n`)
    stop.abort(interrupted)
  }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  try {
    return await work(stop)
  } catch (error) {
    if (error !== interrupted) throw error
    process.exitCode = EXIT.stopped
    return null
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  }
}
