// `cluster`: several nodes, a database that fails over and etcd, all on this machine, to look at and to break.
import { copyFileSync, existsSync } from 'node:fs'
import { extname, join } from 'node:path'
import { Command } from 'commander'
import { OperatorError } from '../../shared/errors.js'
import { UsageError } from '../client.js'
import { EXIT } from '../exit.js'
import { whole } from '../simulate-options.js'
import { untilInterrupted } from '../until-signal.js'
import { askHealth } from './health.js'
import { checkReach, findPackages } from './packages.js'
import { createCluster, databaseUrlOf, readCluster, removeCluster, urlsOf, type Cluster } from './plan.js'
import { areGone, findProcesses, signalUnits, type Unit } from './processes.js'
import { killAll, startAll, stopAll } from './running.js'
import { healthText } from './report.js'
import { writeConfigurations } from './starting.js'
import { createSteps } from './steps.js'
import { TARGETS, unitsOfTarget } from './targets.js'

const FOLDER = 'parkmq-cluster'
const MOST_NODES = 9
const KILLED_MS = 10_000
/** Nobody has a role for a moment after each failover, and Patroni is slow to tell on a busy machine. */
const ROLE_KNOWN_WITHIN_MS = 30_000

interface FolderOptions { folder: string }
interface UpOptions extends FolderOptions { nodes: string, databases: string, config?: string }
interface DownOptions extends FolderOptions { remove?: boolean }
interface StatusOptions extends FolderOptions { json?: boolean }

export function clusterCommand (): Command {
  const command = (name: string, description: string): Command => new Command(name).description(description)
    .option('--folder <folder>', 'where everything of the cluster is', FOLDER)
  return new Command('cluster')
    .description('several nodes, PostgreSQL with failover and etcd, all on this machine, to look at and to break')
    .addHelpText('after', '\nIt needs Debian\'s postgresql, patroni and etcd-server. Everything listens on 127.0.0.1, on free ports.\nIt goes on after the command has ended, until `parkmq cluster down`.')
    .addCommand(command('up', 'start one: 3 members of etcd, databases with Patroni, nodes; ready when it ends')
      .option('--nodes <n>', `parkmq nodes, 1 to ${MOST_NODES}`, '3')
      .option('--databases <n>', 'members of the database, 2 or 3', '3')
      .option('--config <file>', 'settings of the nodes, in YAML or JSON')
      .action(up))
    .addCommand(command('status', 'what there is and how it is; ends with 1 when something is not well')
      .option('--json', 'print it as JSON, for programs')
      .action(status))
    .addCommand(command('kill', 'kill -9 of something, all its processes at once')
      .argument('<name...>', 'what')
      .addHelpText('after', `\nNames:${TARGETS}`)
      .action(async (names: string[], options: FolderOptions) => await signal(names, options, 'SIGKILL', 'killed')))
    .addCommand(command('pause', 'SIGSTOP: it is there, and neither answers nor ends a connection')
      .argument('<name...>', 'what')
      .addHelpText('after', `\nNames:${TARGETS}`)
      .action(async (names: string[], options: FolderOptions) => await signal(names, options, 'SIGSTOP', 'paused')))
    .addCommand(command('resume', 'SIGCONT: it goes on')
      .argument('<name...>', 'what')
      .addHelpText('after', `\nNames:${TARGETS}`)
      .action(async (names: string[], options: FolderOptions) => await signal(names, options, 'SIGCONT', 'goes on')))
    .addCommand(command('heal', 'start what is dead, let go on what is paused, and wait until all have joined again').action(heal))
    .addCommand(command('down', 'stop all of it; `heal` starts it again')
      .option('--remove', 'and remove the folder with everything in it')
      .action(down))
}

async function up ({ folder, nodes, databases, config }: UpOptions): Promise<void> {
  const size = { nodes: whole(nodes, '--nodes', 1, MOST_NODES), databases: whole(databases, '--databases', 2, 3) }
  if (config !== undefined && !existsSync(config)) throw new UsageError(`--config ${config}: there is no such file`)
  const packages = findPackages()
  const cluster = await createCluster(folder, size, config === undefined ? null : `settings${extname(config)}`)
  await untilInterrupted('called off', async ({ signal }) => {
    const steps = createSteps(signal)
    try {
      checkReach(cluster.folder, packages)
      if (cluster.settings !== null && config !== undefined) copyFileSync(config, join(cluster.folder, cluster.settings))
      steps.say(`everything is in ${cluster.folder}`)
      writeConfigurations(cluster, packages)
      await startAll(cluster, packages, steps)
    } catch (error) {
      steps.say('stopping what was started; the logs stay')
      await killAll(cluster)
      removeCluster(cluster, { keepLogs: true })
      throw error
    }
    process.stdout.write(`${await describe(cluster)}\n`)
  })
}

async function status ({ folder, json }: StatusOptions): Promise<void> {
  const cluster = readCluster(folder)
  const health = await askHealth(cluster)
  process.stdout.write(json
    ? `${JSON.stringify({ ...health, folder: cluster.folder, urls: urlsOf(cluster), database: databaseUrlOf(cluster) })}\n`
    : `${healthText(health)}\n`)
  if (!health.well) process.exitCode = EXIT.refused
}

async function signal (names: readonly string[], { folder }: FolderOptions, signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT', done: string): Promise<void> {
  const cluster = readCluster(folder)
  const chosen = await chosenUnits(names, cluster)
  const running = findProcesses(cluster)
  const dead = chosen.find(({ units }) => !units.some(unit => running.has(unit)))
  if (dead !== undefined) throw new OperatorError('already_dead', `${dead.name} is dead already: \`parkmq cluster heal\` starts it again`)
  const units = [...new Set(chosen.flatMap(({ units }) => units))]
  // Before the names are said: what is measured begins here.
  const pids = signalUnits(cluster, units, signal)
  if (signal === 'SIGKILL') await areGone(pids, KILLED_MS)
  process.stdout.write(`${done}: ${shownUnits(units, running)} (${pids.length} ${pids.length === 1 ? 'process' : 'processes'})\n`)
}

/** What each name stands for, as soon as it is known who has the roles that are named. */
async function chosenUnits (names: readonly string[], cluster: Cluster): Promise<{ name: string, units: Unit[] }[]> {
  // Who is what, is asked only where it matters: a name with a number is known, and asking takes a while when something hangs.
  const isKnown = names.every(name => /\d$/.test(name))
  let chosen: { name: string, units: Unit[] }[] = []
  await createSteps(new AbortController().signal).until(async () => {
    const health = isKnown ? { well: true, parts: [] } : await askHealth(cluster)
    const found = names.map(name => ({ name, units: unitsOfTarget(name, cluster, health) }))
    const unknown = found.find(({ units }) => units === null)
    if (unknown !== undefined) return `nobody knows now which one ${unknown.name} is: \`parkmq cluster status\` shows what there is, or name it, such as db-1`
    chosen = found.map(({ name, units }) => ({ name, units: units ?? [] }))
    return null
  }, ROLE_KNOWN_WITHIN_MS)
  return chosen
}

function shownUnits (units: readonly Unit[], running: ReadonlyMap<Unit, unknown>): string {
  return units.filter(unit => running.has(unit)).join(', ')
}

async function heal ({ folder }: FolderOptions): Promise<void> {
  const packages = findPackages()
  const cluster = readCluster(folder)
  await untilInterrupted('called off', async ({ signal }) => await startAll(cluster, packages, createSteps(signal)))
  if (process.exitCode === undefined) process.stdout.write(`${await describe(cluster)}\n`)
}

async function down ({ folder, remove }: DownOptions): Promise<void> {
  const cluster = readCluster(folder)
  const steps = createSteps(new AbortController().signal)
  if (remove) {
    await steps.step('killing all of it', async () => await killAll(cluster))
    removeCluster(cluster, { keepLogs: false })
    steps.say(`removed ${cluster.folder}`)
    return
  }
  await stopAll(cluster, steps)
  const left = [...findProcesses(cluster).keys()]
  if (left.length > 0) throw new OperatorError('not_dead', `still there: ${left.join(', ')}; \`parkmq cluster down\` again`)
  steps.say('nothing runs any more; `parkmq cluster heal` starts it again, `down --remove` removes it')
}

async function describe (cluster: Cluster): Promise<string> {
  const option = cluster.folder === join(process.cwd(), FOLDER) ? '' : ` --folder ${cluster.folder}`
  return [
    healthText(await askHealth(cluster)), '',
    `clients:   export PARKMQ_URL=${urlsOf(cluster)}`,
    `database:  PGPASSWORD=${cluster.passwords.parkmq} psql '${databaseUrlOf(cluster)}?target_session_attrs=read-write'`,
    `try:       parkmq simulate --rate 200 --duration 1m    and meanwhile    parkmq cluster kill primary${option}`,
    `end:       parkmq cluster down${option}`
  ].join('\n')
}
