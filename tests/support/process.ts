// `parkmq start` as a process of its own, to be killed.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { slowlySynced } from '../../bench/processes.js'

/** The compiled program (`npm run build`). */
export const PROGRAM = fileURLToPath(new URL('../../bin/parkmq.js', import.meta.url))

export interface ParkmqProcess {
  readonly process: ChildProcess
  /** Of MQTT over TCP; 0 with a broker that is not ours. */
  readonly port: number
  /** The log so far, one parsed line each. */
  readonly log: Record<string, unknown>[]
  /** kill -9; resolves when it is dead. */
  kill (): Promise<void>
  /** SIGTERM; resolves with the exit code. */
  stop (): Promise<number | null>
}

export interface ProcessOptions {
  /** What each sync of the disk takes longer, in milliseconds, by strace. */
  readonly syncMs?: number
}

/** Starts the compiled program (`npm run build`) on free ports and waits until it is ready. */
export async function startProcess (data: string, args: readonly string[] = [], { syncMs }: ProcessOptions = {}): Promise<ParkmqProcess> {
  const [program, ...before] = syncMs === undefined ? [process.execPath] : slowlySynced(syncMs)
  const child = spawn(program, [...before, PROGRAM, 'start', '--port', '0', '--ws-port', '0', '--data', data, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'exit') as Promise<[number | null]>
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const log: Record<string, unknown>[] = []
  let errors = ''
  child.stderr.on('data', (text: Buffer) => { errors += text.toString() })
  const port = await new Promise<number>((resolve, reject) => {
    child.once('exit', code => reject(new Error(`parkmq start ended with ${code}: ${errors}`)))
    createInterface({ input: child.stdout }).on('line', line => {
      const said = JSON.parse(line) as Record<string, unknown>
      log.push(said)
      if (said.msg === 'ready') resolve(typeof said.mqtt === 'string' ? Number(new URL(said.mqtt).port) : 0)
    })
  })
  return {
    process: child,
    port,
    log,
    async kill () {
      child.kill('SIGKILL')
      await ended
    },
    async stop () {
      child.kill('SIGTERM')
      return (await ended)[0]
    }
  }
}
