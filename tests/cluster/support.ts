// Why the tests of a whole cluster are skipped; null when they can run.
import { OperatorError } from '../../shared/errors.js'
import { findPackages } from '../../cli/cluster/packages.js'

export const ABSENT = whyAbsent()
export const SKIPPED = ABSENT === null ? '' : ` (skipped: ${ABSENT})`

/** Says so on the terminal: a silent skip looks like a pass. */
function whyAbsent (): string | null {
  try {
    findPackages()
    return null
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error
    process.stderr.write(`${error.message}: the tests of a cluster are skipped\n`)
    return error.message
  }
}
