// What is done to a cluster, and the longest gap in acknowledgements that it may cause.
import type { CutOffNode } from './cut-off-node.js'
import type { RunningCluster } from './running-cluster.js'

/** What a fault is done to. */
export interface Target {
  readonly cluster: RunningCluster
  /** One node more, behind those of the cluster, for the fault that wants one. */
  readonly cutOff: CutOffNode | null
}

export interface Fault {
  readonly help: string
  /** Whether it is done to one node more, whose cable can be cut. */
  readonly wantsCutOff?: true
  /** What is done. Returns the node (from 0) whose clients are hit; null: all are the same. */
  readonly strike: (target: Target) => Promise<number | null>
  /** What is undone without `heal`, after so long. */
  readonly undo?: { readonly afterMs: number, readonly work: (target: Target) => Promise<void> }
  /** The longest gap that is promised, in milliseconds: of clients of the node that is hit, and of all others. */
  readonly bounds: { readonly hit?: number, readonly others?: number }
  /** Before that it is not looked whether all go on again: a fault that is seen late would be missed. */
  readonly leastMs: number
}

const PRIMARY_MS = 6_000
const MACHINE_MS = 25_000
/** Patroni is slow to tell on a busy machine. */
const PRIMARY_KNOWN_WITHIN_MS = 30_000
/** Longer than a node's transaction may hold its locks. */
const NODE_STOPPED_MS = 5_000
/** Longer than Patroni's ttl. */
const PRIMARY_STOPPED_MS = 26_000
/** Longer than a node waits before it sends its clients away, and than what it asked counts as lost. */
const CUT_MS = 14_000

/** Kills and says whom that hits. */
const killing = (target: string, node: number | null = null) => async ({ cluster }: Target): Promise<number | null> => {
  await cluster.kill(target)
  return node
}

/** The number of the database that is the primary, from 0. */
async function primaryOf (cluster: RunningCluster): Promise<number> {
  const untilMs = performance.now() + PRIMARY_KNOWN_WITHIN_MS
  for (;;) {
    const name = (await cluster.status()).parts.find(({ role }) => role === 'primary')?.name
    if (name !== undefined) return Number(name.split('-')[1]) - 1
    if (performance.now() > untilMs) throw new Error('no database is the primary')
  }
}

export const FAULTS: Readonly<Record<string, Fault>> = {
  steady: { help: 'nothing', strike: async () => null, bounds: {}, leastMs: 5_000 },
  node: { help: 'kill -9 of a node', strike: killing('node-1', 0), bounds: { hit: 500, others: 100 }, leastMs: 2_000 },
  primary: { help: 'kill -9 of the primary\'s PostgreSQL; its Patroni lives', strike: killing('primary'), bounds: { others: PRIMARY_MS }, leastMs: 2_000 },
  standby: { help: 'kill -9 of the synchronous standby\'s PostgreSQL', strike: killing('standby'), bounds: {}, leastMs: 2_000 },
  etcd: { help: 'kill -9 of the member of etcd that leads', strike: killing('etcd-leader'), bounds: { others: 500 }, leastMs: 5_000 },
  database: { help: 'kill -9 of the primary with its Patroni', strike: killing('db-primary'), bounds: { others: MACHINE_MS }, leastMs: 2_000 },
  machine: {
    help: 'kill -9 of all on the primary\'s machine: node, database, etcd',
    strike: async ({ cluster }) => {
      const n = await primaryOf(cluster)
      await cluster.kill(`machine-${n + 1}`)
      return n
    },
    bounds: { hit: MACHINE_MS, others: MACHINE_MS }, leastMs: 2_000
  },
  'node-zombie': {
    help: `a node is stopped (SIGSTOP) for ${NODE_STOPPED_MS / 1_000} s and goes on`,
    strike: async ({ cluster }) => {
      await cluster.pause('node-2')
      return 1
    },
    undo: { afterMs: NODE_STOPPED_MS, work: async ({ cluster }) => await cluster.resume('node-2') },
    bounds: {}, leastMs: 2_000
  },
  partition: {
    help: `a node is cut off from the database for ${CUT_MS / 1_000} s, and nobody is told; its clients still reach it (root, Linux)`,
    wantsCutOff: true,
    strike: async ({ cluster, cutOff }) => {
      cutOff?.cut()
      return cluster.urls.length
    },
    undo: { afterMs: CUT_MS, work: async ({ cutOff }) => cutOff?.mend() },
    bounds: {}, leastMs: 2_000
  },
  'primary-zombie': zombie('the primary\'s PostgreSQL is stopped (SIGSTOP) and goes on when another is the primary', 'postgres'),
  'database-zombie': zombie('the primary and its Patroni are stopped (SIGSTOP) and go on when another is the primary', 'db')
}

function zombie (help: string, kind: 'postgres' | 'db'): Fault {
  let paused = ''
  return {
    help,
    strike: async ({ cluster }) => {
      paused = `${kind}-${await primaryOf(cluster) + 1}`
      await cluster.pause(paused)
      return null
    },
    undo: { afterMs: PRIMARY_STOPPED_MS, work: async ({ cluster }) => await cluster.resume(paused) },
    bounds: {}, leastMs: 2_000
  }
}
