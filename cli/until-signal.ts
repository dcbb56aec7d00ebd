// How a program that serves ends.

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
