// What parkmq counts of itself, read from its /metrics.

/** The value of each sample by its name and labels: `parkmq_published_total{kind="lot"}`. */
export type Metrics = ReadonlyMap<string, number>

/** Reads `{http}/metrics`. Throws when it cannot be read. */
export async function readMetrics (http: string): Promise<Metrics> {
  const response = await fetch(new URL('/metrics', http))
  if (!response.ok) throw new Error(`${http}/metrics answers ${response.status}`)
  return parseMetrics(await response.text())
}

export function parseMetrics (text: string): Metrics {
  const samples = text.split('\n').filter(line => line !== '' && !line.startsWith('#'))
  return new Map(samples.map(line => {
    const blank = line.lastIndexOf(' ')
    return [line.slice(0, blank), Number(line.slice(blank + 1))]
  }))
}

/** How much a counter has grown, over all its labels that contain `labels`. */
export function grown (before: Metrics, after: Metrics, name: string, labels = ''): number {
  let sum = 0
  for (const [sample, value] of after) {
    if (sample.split('{', 1)[0] === name && sample.includes(labels)) sum += value - (before.get(sample) ?? 0)
  }
  return sum
}
