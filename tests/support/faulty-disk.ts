// Disks that fail below a running parkmq, for tests: a small file system of its own that is filled up, and system calls
// that strace makes fail. Each fault lasts until it is mended. Needs the right to mount a tmpfs, and strace.
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, onTestFinished } from 'vitest'
import { testFolder } from './app.js'

/** A fault that lasts until `mend`. */
export interface Fault { mend (): Promise<void> }

export type BeginFault = (disk: string, process: ChildProcess) => Promise<Fault>

/** A folder of its own file system. */
export function smallDisk (megabytes: number): string {
  const folder = testFolder()
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', folder], { stdio: 'ignore' })
  onTestFinished(() => { execFileSync('umount', ['-l', folder]) })
  return folder
}

export async function fillDisk (disk: string): Promise<Fault> {
  // dd writes until there is no room at all, and fails then, as it should.
  expect(spawnSync('dd', ['if=/dev/zero', `of=${join(disk, 'ballast')}`, 'bs=4k']).status).not.toBe(0)
  return { mend: async () => { rmSync(join(disk, 'ballast')) } }
}

/** Lets one system call of the process fail with `error` wherever it touches `database` or its log. */
export function failing (database: string, call: string, error: string): BeginFault {
  return injecting(database, call, `error=${error}`)
}

/** Lets each sync of `database` or its log take longer, in milliseconds. */
export function syncingSlowly (database: string, syncMs: number): BeginFault {
  return injecting(database, 'fdatasync,fsync', `delay_exit=${syncMs * 1_000}`)
}

/** `what` happens at one system call: see `--inject` of strace(1). */
function injecting (database: string, call: string, what: string): BeginFault {
  return async (disk, process) => {
    const files = [database, `${database}-wal`].flatMap(name => ['-P', join(disk, name)])
    const strace = spawn('strace', ['-f', '-p', String(process.pid), ...files, '-e', `trace=${call}`, '-e', `inject=${call}:${what}`, '-o', '/dev/null'], { stdio: ['ignore', 'ignore', 'pipe'] })
    const ended = once(strace, 'exit')
    onTestFinished(() => { strace.kill('SIGKILL') })
    await new Promise<void>((resolve, reject) => {
      void ended.then(() => reject(new Error('strace ended')))
      createInterface({ input: strace.stderr }).on('line', line => { if (line.includes('attached')) resolve() })
    })
    return {
      mend: async () => {
        strace.kill('SIGINT')
        await ended
      }
    }
  }
}

/** What these tests need and this machine lacks, in words; null when they can run. */
export function lackedForFaults (): string | null {
  if (!works('unshare', ['-m', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'])) return 'the right to mount a tmpfs'
  return works('strace', ['-o', '/dev/null', 'true']) ? null : 'strace'
}

function works (command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}
