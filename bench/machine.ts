// On what a bench ran: what figures depend on besides the code.
import { execFileSync } from 'node:child_process'
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, loadavg, release, totalmem, type } from 'node:os'
import { join } from 'node:path'
import { median } from './figures.js'
import { findMosquitto, newFolder, ROOT } from './processes.js'
import type { Machine } from './results.js'

const SYNCS = 50
const SYNC_BYTES = 4_096

export function describeMachine (): Machine {
  return {
    processors: cpus().length, processor: cpus()[0]?.model.trim() ?? 'unknown', memoryBytes: totalmem(), system: `${type()} ${release()} ${process.arch}`,
    loadBefore: loadavg()[0] ?? 0, syncMs: medianSyncMs()
  }
}

/** Of everything that is measured; null for what is not installed. */
export function describeVersions (): Record<string, string | null> {
  const own = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string, dependencies: Record<string, string> }
  // Where parkmq is installed itself, what it needs is beside it and not below it.
  const places = createRequire(import.meta.url).resolve.paths('mqtt') ?? []
  const installed = (name: string): string | null => {
    const file = places.map(place => join(place, name, 'package.json')).find(path => existsSync(path))
    return file === undefined ? null : (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
  }
  return { parkmq: own.version, node: process.version, aedes: installed('aedes'), mqtt: installed('mqtt'), libsql: installed('libsql'), mosquitto: mosquittoVersion() }
}

function mosquittoVersion (): string | null {
  const program = findMosquitto()
  if (program === null) return null
  // `mosquitto -h` says `mosquitto version 2.0.11` first and ends with an error code.
  try {
    return versionIn(execFileSync(program, ['-h'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))
  } catch (error) {
    return versionIn(String((error as { stdout?: unknown }).stdout))
  }
}

function versionIn (text: string): string {
  return /version (\S+)/.exec(text)?.[1] ?? 'unknown'
}

/** What a commit waits for at least: the median time of an fsync where the benches keep their data, in milliseconds. */
function medianSyncMs (): number {
  const folder = newFolder()
  const file = openSync(join(folder, 'sync'), 'w')
  try {
    const page = Buffer.alloc(SYNC_BYTES, 1)
    return median(Array.from({ length: SYNCS }, () => {
      writeSync(file, page)
      const startedMs = performance.now()
      fsyncSync(file)
      return performance.now() - startedMs
    }))
  } finally {
    closeSync(file)
    rmSync(folder, { recursive: true, force: true })
  }
}
