// Starts what is measured in processes of their own, and ends them.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export interface Target {
  readonly port: number
  readonly process: ChildProcess
  /** Milliseconds from the start of the process to its `ready`. */
  readonly readyMs: number
  /** Resident memory in bytes. */
  memoryBytes (): number
  stop (): Promise<void>
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** `parkmq start` on free ports with a new ledger. */
export async function startParkmq (args: readonly string[] = []): Promise<Target> {
  const data = mkdtempSync(join(tmpdir(), 'parkmq-bench-'))
  return await startTarget([join(ROOT, 'bin/parkmq.js'), 'start', '--port', '0', '--ws-port', '0', '--data', data, ...args], line => {
    const said = JSON.parse(line) as { msg?: string, mqtt?: string }
    return said.msg === 'ready' ? Number(new URL(said.mqtt ?? '').port) : null
  }, () => rmSync(data, { recursive: true, force: true }))
}

/** Aedes as it comes, with TCP_NODELAY, forwarding what is published. */
export async function startStockAedes (): Promise<Target> {
  return await startTarget([join(ROOT, 'dist/bench/stock-aedes.js')], line => Number(line), () => {})
}

async function startTarget (args: readonly string[], portOf: (line: string) => number | null, clean: () => void): Promise<Target> {
  const startedMs = performance.now()
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const port = await new Promise<number>((resolve, reject) => {
    child.once('exit', code => reject(new Error(`${args.join(' ')} ended with ${code}`)))
    createInterface({ input: child.stdout }).on('line', line => {
      const found = portOf(line)
      if (found !== null) resolve(found)
    })
  })
  child.removeAllListeners('exit')
  return {
    port,
    process: child,
    readyMs: performance.now() - startedMs,
    memoryBytes: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) * 1_024,
    stop: async () => {
      child.kill('SIGTERM')
      await once(child, 'exit')
      clean()
    }
  }
}
