// Writes a report into a folder: the results as data, what a person reads, and its plots.
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeResults } from '../run.js'
import type { Results } from '../results.js'
import { UsageError } from '../usage-error.js'
import { drawSvg } from './draw.js'
import { reportText } from './markdown.js'
import { PLOTS } from './plots.js'

export const RESULTS_FILE = 'results.json'

/** Makes the folder; returns the path of its results file. Throws `UsageError` when it cannot be had. */
export function prepareFolder (folder: string): string {
  try {
    mkdirSync(folder, { recursive: true })
  } catch (error) {
    throw new UsageError(`--report ${folder}: no folder can be made there (${(error as NodeJS.ErrnoException).code ?? String(error)})`, { cause: error })
  }
  if (!statSync(folder).isDirectory()) throw new UsageError(`--report ${folder}: this is no folder`)
  return join(folder, RESULTS_FILE)
}

/** The paths that it wrote. Plots of an earlier report that this one has not are removed: they would tell of other figures. */
export async function writeReport (folder: string, results: Results): Promise<string[]> {
  const written = [join(folder, RESULTS_FILE)]
  writeResults(join(folder, RESULTS_FILE), results)
  for (const { file, plotOf } of PLOTS) {
    const plot = plotOf(results)
    if (plot === null) {
      rmSync(join(folder, file), { force: true })
      continue
    }
    writeFileSync(join(folder, file), `${await drawSvg(plot)}\n`)
    written.push(join(folder, file))
  }
  writeFileSync(join(folder, 'report.md'), reportText(results))
  written.push(join(folder, 'report.md'))
  return written
}
