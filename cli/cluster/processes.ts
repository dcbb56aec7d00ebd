// Which processes of a cluster run, found by their exact command lines each time it is asked. A number that was written down could be
// another's by now: after a crash, a restart of the machine, or when it came round.
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Cluster } from './plan.js'

/** One program of a cluster: `node-1`, `etcd-1`, and for a database member `patroni-1` and `postgres-1`. */
export type UnitKind = 'node' | 'etcd' | 'patroni' | 'postgres'
export type Unit = `${UnitKind}-${number}`

export interface Running {
  readonly pid: number
  /** It was stopped (SIGSTOP). */
  readonly paused: boolean
}

/** Where it keeps what is its own; Patroni and its PostgreSQL share a folder. */
export function folderOf ({ folder }: Pick<Cluster, 'folder'>, unit: Unit): string {
  return join(folder, unit.replace(/^(patroni|postgres)-/, 'db-'))
}

export function unitsOf ({ nodes, databases, etcd }: Cluster): Unit[] {
  const all = (kind: UnitKind, many: readonly unknown[]): Unit[] => many.map((_, i) => `${kind}-${i + 1}` as const)
  return [...all('etcd', etcd), ...all('patroni', databases), ...all('postgres', databases), ...all('node', nodes)]
}

/** The file or folder by which a unit's process is known. */
export function markOf (cluster: Pick<Cluster, 'folder'>, unit: Unit): string {
  const folder = folderOf(cluster, unit)
  switch (kindOf(unit)) {
    case 'node': return folder
    case 'etcd': return join(folder, 'etcd.yml')
    case 'patroni': return join(folder, 'patroni.yml')
    case 'postgres': return join(folder, 'data')
  }
}

export function kindOf (unit: Unit): UnitKind {
  return unit.split('-')[0] as UnitKind
}

export function findProcesses (cluster: Cluster): Map<Unit, Running[]> {
  const found = new Map<Unit, Running[]>()
  const units = unitsOf(cluster).map(unit => ({ unit, isIts: recogniserOf(cluster, unit) }))
  for (const { pid, args } of allProcesses()) {
    const unit = units.find(({ isIts }) => isIts(args))?.unit
    const state = unit === undefined ? null : stateOf(pid)
    if (unit !== undefined && state !== null && state !== 'Z') found.set(unit, [...found.get(unit) ?? [], { pid, paused: state === 'T' }])
  }
  return found
}

function recogniserOf (cluster: Cluster, unit: Unit): (args: readonly string[]) => boolean {
  const mark = markOf(cluster, unit)
  const has = (args: readonly string[], flag: string): boolean => args.some((arg, i) => arg === flag && args[i + 1] === mark)
  switch (kindOf(unit)) {
    case 'node': return args => args[2] === 'start' && has(args, '--data')
    case 'etcd': return args => basename(args[0] ?? '') === 'etcd' && has(args, '--config-file')
    case 'patroni': return args => args.slice(0, -1).some(arg => basename(arg) === 'patroni') && args.at(-1) === mark
    case 'postgres': return args => basename(args[0] ?? '') === 'postgres' && has(args, '-D')
  }
}

function* allProcesses (): Generator<{ pid: number, args: string[] }> {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const text = textOf(`/proc/${name}/cmdline`)
    if (text !== null && text !== '') yield { pid: Number(name), args: text.replace(/\0$/, '').split('\0') }
  }
}

/** Null when the process is gone. */
function stateOf (pid: number): string | null {
  // Behind the name, which may contain anything.
  return textOf(`/proc/${pid}/stat`)?.split(') ').at(-1)?.[0] ?? null
}

function textOf (file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    // It has ended between the list and the look.
    return null
  }
}

/** A process and all that came of it, each before its children. */
export function treeOf (pid: number): number[] {
  const children = (textOf(`/proc/${pid}/task/${pid}/children`) ?? '').trim().split(' ').filter(text => text !== '').map(Number)
  return [pid, ...children.flatMap(treeOf)]
}

/** Sends it to all that runs of these units, with their children. Returns how many processes that were. */
export function signalUnits (cluster: Cluster, units: readonly Unit[], signal: NodeJS.Signals): number[] {
  const found = findProcesses(cluster)
  const pids = [...new Set(units.flatMap(unit => found.get(unit) ?? []).flatMap(({ pid }) => treeOf(pid)))]
  for (const pid of pids) signalled(pid, signal)
  return pids
}

/** One that has ended by itself meanwhile is as good. */
function signalled (pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

const LOOK_MS = 10

/** Waits until these processes are gone; false when it takes longer. */
export async function areGone (pids: readonly number[], withinMs: number): Promise<boolean> {
  const untilMs = performance.now() + withinMs
  while (pids.some(pid => (stateOf(pid) ?? 'Z') !== 'Z')) {
    if (performance.now() > untilMs) return false
    await new Promise(resolve => setTimeout(resolve, LOOK_MS))
  }
  return true
}
