// Reads a results file that may come from anywhere: a report is never made of half of one.
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { RESULTS_FORMAT, type Results } from '../results.js'
import { UsageError } from '../usage-error.js'

const Labels = z.record(z.string(), z.string())
const Scalar = z.union([z.string(), z.number(), z.boolean(), z.null()])
const spread = { median: z.number(), min: z.number(), max: z.number(), rounds: z.array(z.number()) }
const Axis = z.object({ name: z.string(), unit: z.string() })
const Point = z.object({ x: z.union([z.number(), z.string()]), y: z.object(spread) })
const Counts = z.record(z.string(), z.number())

const Scenario = z.object({
  scenario: z.string(), command: z.string().optional(), title: z.string(), parameters: z.record(z.string(), z.union([Scalar, z.array(Scalar)])), seconds: z.number(),
  series: z.array(z.object({ what: z.string(), of: Labels, x: Axis, y: Axis, points: z.array(Point) })),
  ratios: z.array(z.object({ what: z.string(), of: Labels, numerator: z.string(), denominator: z.string(), better: z.enum(['higher', 'lower']), ...spread })),
  accounts: z.array(z.object({ of: Labels, counts: Counts })),
  absent: z.array(z.object({ what: z.string(), why: z.string() })),
  notes: z.array(z.string())
})

const ResultsFile = z.object({
  format: z.literal(RESULTS_FORMAT), startedAt: z.iso.datetime(), seconds: z.number(), command: z.string(),
  machine: z.object({ processors: z.number(), processor: z.string(), memoryBytes: z.number(), system: z.string(), loadBefore: z.number(), syncMs: z.number() }),
  versions: z.record(z.string(), z.string().nullable()),
  scenarios: z.array(Scenario),
  unfinished: z.array(z.object({ scenario: z.string(), why: z.string() })).optional()
})

/** Throws `UsageError` that names the file and what is wrong with it. */
export function readResults (file: string): Results {
  const refuse = (why: string, cause?: unknown): UsageError => new UsageError(`${file} ${why}`, { cause })
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw refuse(`cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)}); --from takes a file that --results or --report wrote`, error)
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw refuse(`is no JSON: ${(error as Error).message}; --from takes a file that --results or --report wrote`, error)
  }
  const format = typeof json === 'object' && json !== null && 'format' in json ? json.format : undefined
  if (typeof format === 'number' && format !== RESULTS_FORMAT) throw refuse(`has format ${format}; this version reads format ${RESULTS_FORMAT}: measure again`)
  const read = ResultsFile.safeParse(json)
  if (!read.success) {
    const [issue] = read.error.issues
    throw refuse(`is no results file of the bench: ${issue?.path.map(String).join('.') || 'the whole'}: ${issue?.message}`)
  }
  return read.data as Results
}
