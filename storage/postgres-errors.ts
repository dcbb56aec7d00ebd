// What an error of PostgreSQL or of the way to it means: away, in conflict with another transaction, or a fault of ours.

/** No host of the list can be written now. */
export class NoWritableHostError extends Error {
  constructor (message: string, options: { cause: unknown }) {
    super(message, options)
    this.name = 'NoWritableHostError'
  }
}

/**
 * Classes and codes that pass: connection (08), resources such as a full disk (53), a statement or lock that took too long (57014,
 * 55P03), shutdown and crash (57P), the system (58), a damaged file (XX001, XX002), a server that has become a standby (25006),
 * a transaction that the server gave up (25P), one that lost against others again and again (40), a log-in that is refused (28).
 * https://www.postgresql.org/docs/15/errcodes-appendix.html
 */
const AWAY = /^(08...|53...|57014|55P03|57P..|58...|XX00[12]|25006|25P..|40...|28...|3D000)$/
const CONFLICT = /^(40001|40P01)$/
const SQLSTATE = /^[0-9A-Z]{5}$/
const NETWORK = /^(ECONN\w+|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_\w+|EHOST\w+|ENET\w+|EADDRNOTAVAIL)$/
/** The driver has no codes for its own. */
const DRIVER = /connection (terminated|error|closed)|not queryable|timeout exceeded when trying to connect|query read timeout|client was closed|pool after calling end/i

function codeOf (error: unknown): string {
  const code: unknown = error instanceof Error ? (error as Error & { code?: unknown }).code : undefined
  return typeof code === 'string' ? code : ''
}

/** Whether the connection is of no use any more, or nothing is known of it. */
export function isConnectionLost (error: unknown): boolean {
  const code = codeOf(error)
  // The server says goodbye with a code; its connection is gone all the same.
  return !SQLSTATE.test(code) || /^(08...|57P..|25P03)$/.test(code)
}

/** Whether the connection has a plan from before a table was changed, by a newer parkmq: a new connection has none. */
export function isOldPlan (error: unknown): boolean {
  return codeOf(error) === '0A000' && error instanceof Error && error.message.startsWith('cached plan')
}

/** Whether a server says that it is none that can be written: the next one is to be looked for. */
export function isReadOnly (error: unknown): boolean {
  return codeOf(error) === '25006'
}

/** Whether the transaction lost against another one and would be carried out if it came again. */
export function isConflict (error: unknown): boolean {
  return CONFLICT.test(codeOf(error)) || isOldPlan(error)
}

/** Whether the error says that the ledger cannot be read or written now, rather than that a statement is wrong. */
export function isPostgresUnavailable (error: unknown): boolean {
  if (error instanceof NoWritableHostError || isOldPlan(error)) return true
  const code = codeOf(error)
  if (SQLSTATE.test(code)) return AWAY.test(code)
  return NETWORK.test(code) || (error instanceof Error && DRIVER.test(error.message))
}

const rolledBack = new WeakSet()

/** The server has rolled back the transaction that failed with this error, and has said so. */
export function noteRolledBack (error: unknown): void {
  if (error instanceof Error) rolledBack.add(error)
}

/** Whether it is certain that the transaction whose commit threw this error is not committed. */
export function isRolledBack (error: unknown): boolean {
  return error instanceof Error && rolledBack.has(error)
}
