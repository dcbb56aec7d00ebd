// Runs many cases against one broker, several at once, with healthy clients beside them, and looks at the end for what
// was left behind.
import { Beside } from './beside.js'
import { Client } from './client.js'
import type { Announced } from './judge.js'
import { lifeOf, randomOf } from './life.js'
import type { Ports } from './peer.js'
import { plainConnect } from './packets.js'
import { announcedIn, CaseFailure, endSession, play } from './play.js'
import { sweepRetained } from './sweep.js'
import { SysWatch } from './sys-watch.js'
import { LONGEST_EXPIRY_SECONDS, type Target } from './target.js'

/** Clients at once. */
const AT_ONCE = 25
/** After so many failures a run says no more. */
const MOST_FAILURES = 20
/** Words that a reset may take away in a run, or one in fifty: more is a broker that does not say them. */
const MOST_UNHEARD = 5
/** How long the broker's counts may take to fall, in milliseconds. */
const PATIENCE_MS = 15_000

export interface RunOptions {
  readonly target: Target
  readonly seed: number
  /** The first case, and how many. */
  readonly from?: number
  readonly cases: number
  /** How often memory is looked at, in cases; 0 is never. */
  readonly memoryEvery?: number
  /** Look at the counts of $SYS too: that takes half a minute or more. */
  readonly watchCounts?: boolean
  readonly onProgress?: (progress: Progress) => void
}

export interface Progress {
  readonly done: number
  readonly letIn: number
  readonly violated: number
  /** Of those who broke a rule: whose words were lost in a reset. */
  readonly unheard: number
  readonly failures: number
  /** Bytes in use after a collection with nobody connected but the healthy; null when not looked at. */
  readonly memoryBytes: number | null
}

export interface Report extends Progress {
  /** What went wrong, in words with seed, case and bytes. Empty is good. */
  readonly faults: readonly string[]
  readonly memory: readonly number[]
  readonly healthy: { messages: number, longestGapMs: number }
  /** Counts of $SYS that were looked at, by name, in the end. */
  readonly counts: ReadonlyMap<string, string>
}

/** Never throws for what the broker does: that is in the report. */
export async function run ({ target, seed, from = 0, cases, memoryEvery = 0, watchCounts = false, onProgress = () => {} }: RunOptions): Promise<Report> {
  const { ports } = target
  const faults: string[] = []
  const memory: number[] = []
  const left = new Set<string>()
  let letIn = 0
  let violated = 0
  let unheard = 0
  let next = from
  let failures = 0
  const announced = await askAnnounced(ports)
  const beside = await Beside.start(ports, announced)
  const watch = watchCounts ? await SysWatch.start(ports, announced) : null
  const countsBefore = await watch?.counts() ?? new Map<string, string>()
  let counts = countsBefore
  const atRest = await target.counts()

  const worker = async (until: number): Promise<void> => {
    while (next < until && failures < MOST_FAILURES && target.died() === null) {
      const life = lifeOf(seed, next++, announced.receiveMaximum)
      try {
        const played = await play(life, ports, announced)
        if (played.letIn) letIn++
        if (played.violated) violated++
        if (played.unheard) unheard++
        // Others may use a shared id now, and a hasty client may not even be in yet.
        const later = life.shared || life.rounds.some(({ hasty }) => hasty)
        for (const clientId of played.sessionsLeft) {
          if (later) left.add(clientId)
          else await endSession(clientId, ports, announced)
        }
      } catch (error) {
        failures++
        if (error instanceof CaseFailure) for (const clientId of error.sessionsLeft) left.add(clientId)
        faults.push(error instanceof CaseFailure ? error.message : `seed ${seed}, near case ${life.number}: ${String(error)}`)
      }
    }
  }

  try {
    while (next < from + cases && failures < MOST_FAILURES && target.died() === null) {
      const until = Math.min(from + cases, memoryEvery > 0 ? next + memoryEvery : from + cases)
      await Promise.all(Array.from({ length: Math.min(AT_ONCE, cases) }, () => worker(until)))
      beside.check()
      for (const clientId of left) await endSession(clientId, ports, announced)
      left.clear()
      await sweepRetained(ports, announced)
      faults.push(...await leftBehind(target, atRest))
      const memoryBytes = memoryEvery > 0 ? await target.memory() : null
      if (memoryBytes !== null) memory.push(memoryBytes)
      onProgress({ done: next - from, letIn, violated, unheard, failures, memoryBytes })
    }
    if (watch !== null && countsBefore.size > 0 && failures === 0) {
      counts = await countsInTheEnd(watch, countsBefore)
      for (const [name, before] of countsBefore) if (counts.get(name) !== before) faults.push(`seed ${seed}: ${name} is ${counts.get(name)} when everybody has gone, and was ${before} before`)
    }
    await beside.stop()
    for (const line of await target.errors()) faults.push(`seed ${seed}: the broker logged ${line}`)
  } catch (error) {
    faults.push(`seed ${seed}, before case ${next}: ${String(error)}`)
  } finally {
    beside.close()
    watch?.close()
  }
  if (unheard > Math.max(MOST_UNHEARD, violated / 50)) faults.push(`seed ${seed}: ${unheard} of ${violated} clients that broke a rule heard nothing but a reset`)
  // A process that has just died is known to be dead when it no longer answers.
  await target.counts().catch(() => {})
  const died = target.died()
  if (died !== null) faults.unshift(`seed ${seed}, at most ${AT_ONCE} cases before ${next}: ${died}`)
  return { done: next - from, letIn, violated, unheard, failures, memoryBytes: memory.at(-1) ?? null, faults, memory, healthy: beside.figures, counts }
}

async function askAnnounced (ports: Ports): Promise<Announced> {
  const announced: Announced = { receiveMaximum: 65_535, topicAliasMaximum: 0, maximumPacketBytes: 268_435_460, sharedSubscriptions: true }
  const client = await Client.open({ ports, announced, transport: 'tcp', habit: 'never', random: randomOf(0, 0) })
  client.say(plainConnect(5, 'asks-for-the-limits'))
  await client.until(() => client.isIn, () => 'CONNACK')
  client.say(Buffer.from([0xe0, 0]))
  client.end()
  await client.until(() => client.ended, () => 'the end')
  return announcedIn(client)
}

/** Counts that must be again what they were before anybody else came. */
const MUST_FALL = ['broker_clients']

async function leftBehind (target: Target, atRest: Record<string, number>): Promise<string[]> {
  const untilMs = performance.now() + PATIENCE_MS
  for (;;) {
    const counts = await target.counts()
    const wrong = MUST_FALL.filter(name => (counts[name] ?? 0) !== (atRest[name] ?? 0)).map(name => `${name} is ${counts[name]} when everybody has gone, and was ${atRest[name]} before`)
    if (wrong.length === 0 || performance.now() > untilMs) return wrong
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

/** The counts when they are as before, or when no session that was left can be there any more. */
async function countsInTheEnd (watch: SysWatch, before: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, string>> {
  const untilMs = performance.now() + (LONGEST_EXPIRY_SECONDS + 5) * 1_000
  for (;;) {
    const counts = await watch.counts()
    if ([...before].every(([name, value]) => counts.get(name) === value) || performance.now() > untilMs) return counts
  }
}
