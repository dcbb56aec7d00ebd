// Starts the programs of a cluster, each on its own: they go on when the command that started them has ended.
import { spawn } from 'node:child_process'
import { chmodSync, chownSync, closeSync, existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { PROGRAM } from '../version.js'
import { etcdSettings } from './etcd-settings.js'
import type { Packages } from './packages.js'
import { patroniSettings } from './patroni-settings.js'
import { databaseUrlOf, HOST, logFile, type Cluster } from './plan.js'
import { folderOf, kindOf, markOf, type Unit } from './processes.js'

interface Command {
  readonly program: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly user?: Packages['user']
}

/** Writes the configuration of all units: they stay as they are from then on. */
export function writeConfigurations (cluster: Cluster, packages: Packages): void {
  const { folder, scope, passwords, etcd, databases } = cluster
  mkdirSync(join(folder, 'logs'), { recursive: true })
  const members = etcd.map((ports, i) => ({ name: `etcd-${i + 1}`, host: HOST, ...ports }))
  for (const member of members) {
    const unit = member.name as Unit
    mkdirSync(folderOf(cluster, unit), { mode: 0o700 })
    writeFileSync(markOf(cluster, unit), stringify(etcdSettings({ member, members, data: join(folderOf(cluster, unit), 'data'), token: scope })))
  }
  for (const [i, ports] of databases.entries()) {
    const unit: Unit = `patroni-${i + 1}`
    const own = folderOf(cluster, unit)
    mkdirSync(own)
    writeFileSync(markOf(cluster, unit), stringify(patroniSettings({
      scope,
      member: { name: `db-${i + 1}`, host: HOST, ...ports },
      etcd: etcd.map(({ port }) => `${HOST}:${port}`),
      data: markOf(cluster, `postgres-${i + 1}`),
      passFile: join(own, 'pgpass'),
      programs: packages.postgres,
      network: `${HOST}/32`,
      passwords
    })))
    for (const path of [own, markOf(cluster, unit)]) if (packages.user) chownSync(path, packages.user.uid, packages.user.gid)
    chmodSync(own, 0o700)
  }
  for (const i of cluster.nodes.keys()) mkdirSync(folderOf(cluster, `node-${i + 1}`), { mode: 0o700 })
}

/** Starts one. PostgreSQL is not started by us: its Patroni does. */
export function startUnit (cluster: Cluster, packages: Packages, unit: Unit): void {
  const { program, args, env = {}, user } = commandOf(cluster, packages, unit)
  const log = openSync(logFile(cluster.folder, unit), 'a', 0o600)
  // Settings of the person who starts it are none of the cluster's.
  const others = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PARKMQ|PATRONI|ETCD|PG)/.test(name)))
  try {
    const child = spawn(program, args, { cwd: folderOf(cluster, unit), env: { ...others, ...env }, detached: true, stdio: ['ignore', log, log], ...user ?? {} })
    // Whether it runs is seen by looking for it; why not, is in its log.
    child.on('error', error => writeFileSync(logFile(cluster.folder, unit), `${error.message}\n`, { flag: 'a' }))
    child.unref()
  } finally {
    closeSync(log)
  }
}

function commandOf (cluster: Cluster, packages: Packages, unit: Unit): Command {
  const mark = markOf(cluster, unit)
  switch (kindOf(unit)) {
    case 'etcd': return { program: packages.etcd, args: ['--config-file', mark] }
    case 'patroni': return {
      program: packages.patroni, args: [mark], user: packages.user,
      env: { HOME: folderOf(cluster, unit), LC_ALL: 'C.UTF-8', PATH: `${packages.postgres}:/usr/bin:/bin` }
    }
    case 'postgres': throw new Error(`${unit} is started by its Patroni`)
    case 'node': {
      const ports = cluster.nodes[Number(unit.split('-')[1]) - 1]
      if (ports === undefined) throw new Error(`there is no ${unit}`)
      return { program: process.execPath, args: nodeArguments(cluster, unit, { ...ports, data: mark }), env: { PGPASSWORD: cluster.passwords.parkmq } }
    }
  }
}

interface NodePlaces {
  readonly port: number
  readonly wsPort: number
  readonly httpPort: number
  readonly data: string
}

function nodeArguments (cluster: Cluster, name: string, { port, wsPort, httpPort, data }: NodePlaces): string[] {
  const settings = cluster.settings === null ? null : join(cluster.folder, cluster.settings)
  return [
    PROGRAM, 'start', '--node', name, '--data', data, '--database', databaseUrlOf(cluster), '--host', HOST,
    '--port', String(port), '--ws-port', String(wsPort), '--http-port', String(httpPort),
    ...settings !== null && existsSync(settings) ? ['--config', settings] : []
  ]
}
