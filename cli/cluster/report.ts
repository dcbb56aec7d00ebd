// How a cluster is, for people.
import { table } from '../table.js'
import type { Health } from './health.js'

export function healthText ({ parts, well }: Health): string {
  const rows = parts.map(({ name, what, state, role, lagBytes, where }) => [name, what, state, role, lagBytes === null ? null : `${lagBytes} B`, where])
  const unwell = parts.filter(part => !part.well).map(({ name }) => name)
  return `${table(['NAME', 'WHAT', 'STATE', 'ROLE', 'LAG', 'WHERE'], rows)}\n\n${well ? 'all is well' : `not well: ${unwell.join(', ')}; \`parkmq cluster heal\` starts what is dead`}`
}
