// The names that `kill`, `pause` and `resume` take, and what each of them is at this moment.
import { UsageError } from '../client.js'
import type { Health } from './health.js'
import type { Cluster } from './plan.js'
import { unitsOf, type Unit } from './processes.js'

export const TARGETS = `
  node-2                   a parkmq node
  db-1                     a database member: PostgreSQL and its Patroni, as when its machine is lost
  postgres-1               its PostgreSQL alone: Patroni sees it and acts
  etcd-1                   a member of etcd
  machine-1                the node, the database member and the etcd member of this number together
  primary, standby         PostgreSQL of the primary, of the synchronous standby; so too db-primary, machine-primary, db-standby, machine-standby
  etcd-leader              the member of etcd that leads`

/** The units that a name stands for; null while nobody is known to have its role. Throws `UsageError` that names what there is. */
export function unitsOfTarget (target: string, cluster: Cluster, health: Health): Unit[] | null {
  const [, kind, which] = /^(?:(node|db|postgres|etcd|machine)-)?(\d+|primary|standby|leader)$/.exec(target) ?? []
  if (which === undefined || (kind === undefined && !isRole(which))) throw new UsageError(`${target} is nothing of this cluster: there are\n${namesOf(cluster).join(', ')}, primary, standby, etcd-leader, machine-1 and so on`)
  const n = numberOf(which, kind, target, health)
  if (n === null) return null
  const there = new Set(unitsOf(cluster))
  const named: Unit[] = {
    node: [`node-${n}` as const],
    db: [`patroni-${n}` as const, `postgres-${n}` as const],
    postgres: [`postgres-${n}` as const],
    etcd: [`etcd-${n}` as const],
    machine: [`node-${n}` as const, `patroni-${n}` as const, `postgres-${n}` as const, `etcd-${n}` as const]
  }[kind ?? 'postgres'] ?? []
  const units = named.filter(unit => there.has(unit))
  if (units.length === 0) throw new UsageError(`there is no ${target} in this cluster: there are ${namesOf(cluster).join(', ')}`)
  return units
}

function isRole (which: string): boolean {
  return which === 'primary' || which === 'standby'
}

function numberOf (which: string, kind: string | undefined, target: string, { parts }: Health): number | null {
  if (/^\d+$/.test(which)) return Number(which)
  const role = which === 'standby' ? 'sync standby' : which
  const fits = which === 'leader' ? kind === 'etcd' : kind !== 'etcd' && kind !== 'node'
  if (!fits) throw new UsageError(`${target} is nothing of this cluster: a leader is of etcd, primary and standby are of the database`)
  const name = parts.find(part => part.role === role)?.name
  return name === undefined ? null : Number(name.split('-')[1])
}

function namesOf ({ nodes, databases, etcd }: Cluster): string[] {
  const names = (kind: string, many: readonly unknown[]): string[] => many.map((_, i) => `${kind}-${i + 1}`)
  return [...names('node', nodes), ...names('db', databases), ...names('postgres', databases), ...names('etcd', etcd)]
}
