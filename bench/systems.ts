// What answers requests and counts cars, to be compared: parkmq, what a broker alone would do, and what one would
// write by hand.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { say } from './figures.js'
import { findMosquitto, newFolder, startBeside, startMosquitto, startParkmq, startStockAedes, type Target } from './processes.js'
import type { Ports } from './raw-client.js'
import type { Recorder } from './recorder.js'
import { UsageError } from './usage-error.js'

/** In the order in which they are shown. */
export const SYSTEMS = ['parkmq', 'mosquitto-echo', 'aedes-echo', 'mosquitto-forward', 'aedes-forward', 'service', 'service-auto-ack'] as const
export type SystemName = (typeof SYSTEMS)[number]
/** Those that answer requests, and those that take sensor messages. */
export const ANSWERING = ['parkmq', 'mosquitto-echo', 'aedes-echo', 'service', 'service-auto-ack'] as const satisfies readonly SystemName[]
export const COUNTING = ['parkmq', 'mosquitto-forward', 'aedes-forward', 'service', 'service-auto-ack'] as const satisfies readonly SystemName[]

export const SYSTEM_HELP: Readonly<Record<SystemName, string>> = {
  parkmq: 'parkmq, everything committed to disk before its PUBACK and its reply',
  'mosquitto-echo': 'mosquitto and a process that echoes requests: nothing is done and nothing stored',
  'aedes-echo': 'stock aedes and the same echo',
  'mosquitto-forward': 'mosquitto, which forwards the messages to one plain QoS 1 subscriber: nothing is counted and nothing stored',
  'aedes-forward': 'stock aedes, which does the same',
  service: 'mosquitto and a plain Node service: MQTT.js, one SQLite transaction a message, acknowledged after its commit',
  'service-auto-ack': 'the same, acknowledged by MQTT.js before the commit: it loses messages in a crash'
}

export function isSystem (name: string): name is SystemName {
  return SYSTEMS.some(system => system === name)
}

/** In the order in which they are shown; what is no system comes last. */
export function inOrder (names: readonly string[]): string[] {
  const place = (name: string): number => isSystem(name) ? SYSTEMS.indexOf(name) : SYSTEMS.length
  return [...names].sort((a, b) => place(a) - place(b))
}

export interface System {
  readonly name: SystemName
  readonly ports: Ports
  readonly answers: 'replies' | 'echo'
  readonly http: string | null
  /** Of all its processes together, in milliseconds. */
  cpuMs (): number
  memoryBytes (): number
  stop (): Promise<void>
}

/** Its places are `capacity` in each lot, all of them empty. */
export interface SystemParts {
  readonly lots: readonly string[]
  readonly capacity: number
  /** Of `parkmq`: the folder of the build that is started; default this one. */
  readonly root?: string
  /** Of `parkmq`: what each sync of its disk takes longer, in milliseconds, by strace. */
  readonly syncMs?: number
}

export async function startSystem (name: SystemName, parts: SystemParts): Promise<System> {
  switch (name) {
    case 'parkmq': return await startParkmqWith(parts)
    case 'mosquitto-echo': return systemOf(name, 'echo', await withEcho(await startMosquitto({ durable: false })))
    case 'aedes-echo': return systemOf(name, 'echo', await withEcho(await startStockAedes()))
    case 'mosquitto-forward': return systemOf(name, 'echo', [await startMosquitto({ durable: false })])
    case 'aedes-forward': return systemOf(name, 'echo', [await startStockAedes()])
    case 'service': case 'service-auto-ack': {
      const broker = await startMosquitto({ durable: false })
      const folder = newFolder()
      const args = [folder, name === 'service' ? 'after-commit' : 'auto', ...parts.lots.map(lot => `${lot}:${parts.capacity}`)]
      return systemOf(name, 'replies', [broker, await startBeside('plain-service-process.js', broker.port, args, folder)])
    }
  }
}

/** `LOT-A`, `LOT-B` and so on for the first 26, then `LOT-27`. */
export function lotNames (count: number): string[] {
  return Array.from({ length: count }, (_, n) => `LOT-${n < 26 ? String.fromCharCode(65 + n) : n + 1}`)
}

/** The asked systems that are among `known` and can be had here; says and records which cannot, and what the others are. */
export function availableSystems (asked: readonly SystemName[], known: readonly SystemName[], recorder: Recorder): SystemName[] {
  const systems: SystemName[] = []
  for (const name of asked.filter(system => known.includes(system))) {
    if (NEED_MOSQUITTO.includes(name) && findMosquitto() === null) {
      const why = 'mosquitto is not installed (Debian: apt-get install mosquitto)'
      say(`  ${name} is left out of this comparison: ${why}`)
      recorder.absent(name, why)
      continue
    }
    say(`  ${name}: ${SYSTEM_HELP[name]}`)
    recorder.note(`${name}: ${SYSTEM_HELP[name]}.`)
    systems.push(name)
  }
  if (systems.length === 0) throw new UsageError(`none of these systems is for this scenario: ${asked.join(', ')}; it has ${known.join(', ')}`)
  return systems
}

const NEED_MOSQUITTO: readonly SystemName[] = ['mosquitto-echo', 'mosquitto-forward', 'service', 'service-auto-ack']

async function startParkmqWith ({ lots, capacity, root, syncMs }: SystemParts): Promise<System> {
  const folder = newFolder()
  try {
    const file = join(folder, 'lots.json')
    writeFileSync(file, JSON.stringify({ lots: lots.map(lot => ({ lot, capacity, occupied: 0 })) }))
    return systemOf('parkmq', 'replies', [await startParkmq(['--config', file, '--http-port', '0'], { root, syncMs })])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function withEcho (broker: Target): Promise<readonly [Target, Target]> {
  return [broker, await startBeside('echo-process.js', broker.port)]
}

function systemOf (name: SystemName, answers: System['answers'], processes: readonly [Target, ...Target[]]): System {
  const [{ port, wsPort, http = null }] = processes
  return {
    name, ports: { port, wsPort }, answers, http,
    cpuMs: () => processes.reduce((sum, process) => sum + process.cpuMs(), 0),
    memoryBytes: () => processes.reduce((sum, process) => sum + process.memoryBytes(), 0),
    stop: async () => {
      // What serves goes before its broker does.
      for (const process of [...processes].reverse()) await process.stop()
    }
  }
}
