// Starts all of a cluster in the order in which its parts need each other, waits until each has joined, and stops it.
import pg from 'pg'
import { OperatorError } from '../../shared/errors.js'
import { askHealth, databaseParts, etcdParts, type Part } from './health.js'
import type { Packages } from './packages.js'
import { HOST, lastLines, type Cluster } from './plan.js'
import { areGone, findProcesses, kindOf, signalUnits, unitsOf, type Unit, type UnitKind } from './processes.js'
import { startUnit } from './starting.js'
import type { Steps } from './steps.js'

const ETCD_MS = 30_000
/** A standby may be copied anew, and a dead primary has to be given up first. */
const DATABASE_MS = 180_000
const NODE_MS = 60_000
const STOP_MS = 20_000
const KILL_MS = 10_000

/** Starts what is dead, lets go on what is paused, and resolves when every part has joined. Says what it waits for. */
export async function startAll (cluster: Cluster, packages: Packages, steps: Steps): Promise<void> {
  const paused = [...findProcesses(cluster)].filter(([, running]) => running.some(({ paused }) => paused)).map(([unit]) => unit)
  if (paused.length > 0) {
    steps.say(`going on: ${paused.join(', ')}`)
    signalUnits(cluster, paused, 'SIGCONT')
  }
  await startKind('etcd', 'members of etcd', ETCD_MS, async () => await etcdParts(cluster, findProcesses(cluster)))
  await startKind('patroni', 'databases with Patroni, until one is primary and the others follow', DATABASE_MS, async () => await databaseParts(cluster, findProcesses(cluster)))
  await steps.step('the database of parkmq', async () => await makeDatabase(cluster))
  await startKind('node', 'parkmq nodes', NODE_MS, async () => (await askHealth(cluster)).parts.filter(({ what }) => what === 'parkmq'))

  async function startKind (kind: UnitKind, what: string, withinMs: number, look: () => Promise<Part[]>): Promise<void> {
    steps.signal.throwIfAborted()
    const all = unitsOf(cluster).filter(unit => kindOf(unit) === kind)
    const running = findProcesses(cluster)
    const dead = all.filter(unit => !running.has(unit))
    await steps.step(`${all.length} ${what}${dead.length === 0 ? '' : `: starting ${dead.join(', ')}`}`, async () => {
      for (const unit of dead) startUnit(cluster, packages, unit)
      await steps.until(async () => {
        const unwell = (await look()).filter(({ well }) => !well)
        checkEnded(cluster, dead)
        return unwell.length === 0 ? null : unwell.map(({ name, state }) => `${name} is ${state}`).join(', ')
      }, withinMs)
    })
  }
}

/** A program that ends at once will not become well by waiting. Throws `OperatorError` with what it said last. */
function checkEnded (cluster: Cluster, started: readonly Unit[]): void {
  const running = findProcesses(cluster)
  const ended = started.find(unit => !running.has(unit))
  if (ended !== undefined) throw new OperatorError('did_not_start', `${ended} ended at once; its log (${cluster.folder}/logs/${ended}.log) ends with\n${lastLines(cluster, ended)}`)
}

/** The user and the database, as docs/cluster.md has them, where they are not there yet. */
async function makeDatabase (cluster: Cluster): Promise<void> {
  const primary = (await databaseParts(cluster, findProcesses(cluster))).findIndex(({ role }) => role === 'primary')
  const port = cluster.databases[primary]?.port
  if (port === undefined) throw new OperatorError('no_primary', 'no database is the primary: try `parkmq cluster heal` again')
  const client = new pg.Client({ host: HOST, port, user: 'postgres', password: cluster.passwords.postgres, database: 'postgres', connectionTimeoutMillis: 5_000, query_timeout: 30_000 })
  // The end of the connection fails the query as well.
  client.on('error', () => {})
  await client.connect()
  try {
    const { rows: users } = await client.query('select from pg_roles where rolname = \'parkmq\'')
    if (users.length === 0) await client.query(`create role parkmq login password ${client.escapeLiteral(cluster.passwords.parkmq)}`)
    const { rows: databases } = await client.query('select from pg_database where datname = \'parkmq\'')
    if (databases.length === 0) await client.query('create database parkmq owner parkmq template template0 locale \'C\' encoding \'UTF8\'')
  } finally {
    await client.end()
  }
}

/** In the order in which they need each other, each with the time to end well. */
export async function stopAll (cluster: Cluster, steps: Steps): Promise<void> {
  // One that is stopped cannot end.
  signalUnits(cluster, unitsOf(cluster), 'SIGCONT')
  for (const [kind, what] of [['node', 'the nodes'], ['patroni', 'the databases'], ['etcd', 'etcd']] as const) {
    const units = unitsOf(cluster).filter(unit => kindOf(unit) === kind || (kind === 'patroni' && kindOf(unit) === 'postgres'))
    const running = findProcesses(cluster)
    if (!units.some(unit => running.has(unit))) continue
    await steps.step(`stopping ${what}`, async () => {
      // Patroni stops its PostgreSQL; one without Patroni is stopped here (SIGINT: without waiting for its clients).
      const pids = signalUnits(cluster, units.filter(unit => kindOf(unit) !== 'postgres'), 'SIGTERM')
      const orphans = units.filter(unit => kindOf(unit) === 'postgres' && !running.has(unit.replace('postgres', 'patroni') as Unit))
      for (const { pid } of orphans.flatMap(unit => running.get(unit) ?? [])) {
        process.kill(pid, 'SIGINT')
        pids.push(pid)
      }
      if (!await areGone(pids, STOP_MS)) steps.say('  some do not end: they are killed')
      await killUnits(cluster, units)
    })
  }
}

/** kill -9 of everything that runs of these units. Returns how many processes that were. */
export async function killUnits (cluster: Cluster, units: readonly Unit[]): Promise<number> {
  const pids = signalUnits(cluster, units, 'SIGKILL')
  if (!await areGone(pids, KILL_MS)) throw new OperatorError('not_dead', `some processes of ${units.join(', ')} are still there ${KILL_MS / 1_000} s after SIGKILL: ${pids.join(', ')}`)
  return pids.length
}

/** The same for the whole cluster, also of what a Patroni was just starting. */
export async function killAll (cluster: Cluster): Promise<void> {
  while (await killUnits(cluster, unitsOf(cluster)) > 0) { /* Until there is nothing left. */ }
}
