// One thing that `parkmq doctor` has looked at, and how a person sees it. A check never says a password or a hash.
import { table } from './table.js'

export interface Check {
  readonly name: string
  /** Null for what is neither right nor wrong. */
  readonly ok: boolean | null
  /** Works, and somebody should look at it; the exit code stays 0. */
  readonly warning?: true
  /** What was found; of what is wrong also how to mend it. */
  readonly said: string
}

/** The checks as a table for people: `ok`, `NO` for what is wrong, `warn`, `-` for what is neither. */
export function shownChecks (checks: readonly Check[]): string {
  return table(['CHECK', '', 'FOUND'], checks.map(({ name, ok, warning, said }) => [name, warning ? 'warn' : ok === null ? '-' : ok ? 'ok' : 'NO', said]))
}
