// What a run of the bench measured, as plain data that survives JSON: what `--results FILE` writes, and all that a report
// or a plot is made from. Whatever a scenario prints is in here as well; nothing here has to be parsed out of text.
//
// A scenario is a few series (a figure over something, such as requests/s over clients), the ratios that compare
// what ran in turn, and accounts (counts that must come out even). Series of one kind have the same `what` and axes
// and differ in their labels: a plot of `what` draws one line for each of them.

/** Grows when an old reader would misread a new file. */
export const RESULTS_FORMAT = 1

/** The file. */
export interface Results {
  readonly format: typeof RESULTS_FORMAT
  /** When it began, ISO 8601 in UTC. */
  readonly startedAt: string
  readonly seconds: number
  /** The command line that makes it again. */
  readonly command: string
  readonly machine: Machine
  /** Of everything that was measured: `parkmq`, `node`, `aedes`, `mqtt` (MQTT.js), `mosquitto`; null where it is not installed. */
  readonly versions: Readonly<Record<string, string | null>>
  readonly scenarios: readonly ScenarioResult[]
  /** What was asked for and is not among `scenarios`; absent when there is nothing of the kind. */
  readonly unfinished?: readonly Unfinished[]
}

export interface Unfinished {
  readonly scenario: string
  readonly why: string
}

export interface Machine {
  readonly processors: number
  /** Model of the processors. */
  readonly processor: string
  readonly memoryBytes: number
  /** Such as `Linux 6.1.0 x64`. */
  readonly system: string
  /** Load average of the minute before: what else this machine did. */
  readonly loadBefore: number
  /** Median time of an fsync where the data is, in milliseconds: what a commit waits for at least. */
  readonly syncMs: number
}

export type Value = string | number | boolean | null

export interface ScenarioResult {
  /** The name on the command line. */
  readonly scenario: string
  /** The command line that makes this scenario again; the bench knows it, the scenario does not. */
  readonly command?: string
  /** One sentence: what was measured under what. */
  readonly title: string
  /** With what it ran, defaults included; times and sizes have their unit at the end of their name. */
  readonly parameters: Readonly<Record<string, Value | readonly Value[]>>
  readonly seconds: number
  readonly series: readonly Series[]
  readonly ratios: readonly Ratio[]
  readonly accounts: readonly Account[]
  /** What was to be compared and is not there. */
  readonly absent: readonly Absent[]
  /** Full sentences that a reader of the figures must know. */
  readonly notes: readonly string[]
}

/** What tells series, ratios and accounts of one scenario apart: `{ system: 'parkmq', workload: 'writes' }`. */
export type Labels = Readonly<Record<string, string>>

export interface Series {
  /** Such as `throughput`, `latency`, `latency distribution`, `delivery lag`, `processor time`. */
  readonly what: string
  readonly of: Labels
  readonly x: Axis
  readonly y: Axis
  /** In the order in which they were measured first; each `x` once. */
  readonly points: readonly Point[]
}

export interface Axis {
  /** What is counted: `clients`, `requests`, `round trip`. */
  readonly name: string
  /** `ms`, `us`, `1/s`, `bytes`, `%`; empty for a plain number or for words. */
  readonly unit: string
}

export interface Point {
  /** Words where the axis has no scale, such as the name of a kind of load. */
  readonly x: number | string
  readonly y: Spread
}

/** One figure over all rounds. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
  /** Each round's, in their order; one where there are no rounds. */
  readonly rounds: readonly number[]
}

/** One figure of `numerator` divided by the same of `denominator` in the same round. */
export interface Ratio extends Spread {
  /** The figure: `throughput`, `p95`, `processor time`. */
  readonly what: string
  readonly of: Labels
  readonly numerator: string
  readonly denominator: string
  /** Whether more is better for the numerator. */
  readonly better: 'higher' | 'lower'
}

/** Counts over all rounds together, which say whether what was measured did all that it was asked. */
export interface Account {
  readonly of: Labels
  readonly counts: Readonly<Record<string, number>>
}

export interface Absent {
  readonly what: string
  readonly why: string
}
