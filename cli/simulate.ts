// `simulate`: cars for a running parkmq, synthetic or from a recording, with the faults of a real way on request.
import type { Command } from 'commander'
import type { MqttClient } from 'mqtt'
import { OperatorError } from '../shared/errors.js'
import { endMqtt } from '../shared/mqtt-client.js'
import { createRequester } from '../shared/requester.js'
import { verifyLots, type Asking } from '../services/sensor-sim/lots.js'
import { planBlindTraffic, planReplay, planTraffic, type Plan } from '../services/sensor-sim/plan.js'
import { readRecording, type Recording } from '../services/sensor-sim/replay.js'
import { startSimulation, type Report, type SimulationParts } from '../services/sensor-sim/service.js'
import { clientCommand, connectClient, UsageError } from './client.js'
import { EXIT } from './exit.js'
import { simulateCamerasCommand } from './simulate-cameras.js'
import { DEFAULTS, duration, readSettings, type SimulateOptions, type SimulateSettings } from './simulate-options.js'
import { isVerified, showProgress, summaryJson, summaryText } from './simulate-output.js'

const EXAMPLES = `
Without --replay, cars come in the morning and leave in the evening, fewer at weekends, on lots of the service.
With --replay, the samples of a CSV file become the deltas that gates would have sent.

Examples:
  parkmq simulate                                               10 messages a second on all lots, for a minute
  parkmq simulate --lots LOT-A,LOT-B --rate 200 --duration 5m --seed 7
  parkmq simulate --rate 0 --window 64 --duration 10s           as fast as the broker acknowledges
  parkmq simulate --rate 50 --duplicate 0.05 --reorder 0.01 --restart-every 500 --verify
  parkmq simulate --replay occupancy.csv --speed 600 --create-lots
  parkmq simulate --replay occupancy.csv --speed max --create-lots --duplicate 0.05 --verify
  parkmq simulate --replay occupancy.csv --recount-only         one absolute count a lot: the last of the file
  parkmq simulate --replay other.csv --columns name=car_park,capacity=places,occupancy=taken,time=at

A sensor is known by its name and its epoch. The name comes from the seed, the epoch is the time of the start: two runs at
the same time need different seeds. With --user NAME the names begin with NAME and a dot, as a device's must; a device may
make no requests, so it needs --lots and --capacity, and a user of the role service may do everything. Ctrl-C sends what is held back, waits for the acknowledgements and prints the summary.

Exit codes: 0 done; 1 a message was refused, or --verify found a difference; 2 wrong usage; 3 nobody answers; 130 Ctrl-C.`

export function simulateCommand (): Command {
  return clientCommand('simulate', 'send what gates would send: synthetic traffic, or a recording')
    .option('--lots <ids>', 'lots, separated by commas (default: all lots of the service, or of the recording)')
    .option('--rate <n>', `synthetic: messages a second in all, on average; 0: as fast as they are acknowledged (default ${DEFAULTS.rate})`)
    .option('--duration <time>', `synthetic: 500ms, 30s, 5m or 2h; 0: until Ctrl-C (default ${DEFAULTS.duration})`)
    .option('--gates <n>', `synthetic: gates of each lot, each a sensor (default ${DEFAULTS.gates})`)
    .option('--start <time>', `synthetic: the simulated time at the start (default ${DEFAULTS.start}, a Monday)`)
    .option('--capacity <n>', 'synthetic: places of each of --lots, so that no service need answer; replay: for lots without a capacity in the file')
    .option('--speed <n>', `simulated seconds a second; replay: max or 0 is as fast as acknowledged (default ${DEFAULTS.speed})`)
    .option('--seed <n>', `the same seed gives the same traffic and faults (default ${DEFAULTS.seed})`)
    .option('--epoch <n>', 'the sensors\' boot number (default: the time now, in milliseconds)')
    .option('--replay <file>', 'CSV file of occupancy samples with a header line')
    .option('--columns <list>', 'replay: the headers, as name=...,capacity=...,occupancy=...,time=...')
    .option('--create-lots', 'replay: make the lots that are not there')
    .option('--recount', 'at the end, set every lot to the true count by one absolute message')
    .option('--recount-only', 'replay: send these absolute messages and nothing else')
    .option('--verify', 'at the end, compare with what the service counts')
    .option('--duplicate <share>', 'share of the messages sent a second time, such as 0.05')
    .option('--lose <share>', 'share of the messages never sent')
    .option('--reorder <share>', 'share of the messages overtaken by later ones of their sensor')
    .option('--restart-every <n>', 'each sensor restarts (epoch + 1, seq from 1) after n messages')
    .option('--window <n>', `most unacknowledged messages; beyond 64 of one sensor a lost connection can make its lot suspect (default ${DEFAULTS.window})`)
    .option('--give-up <time>', `end when nothing is acknowledged for so long (default ${DEFAULTS.giveUp})`)
    .option('--quiet', 'no progress on stderr')
    .addHelpText('after', EXAMPLES)
    .action(simulate)
    // What stands behind `cameras` is for that command, also where both have an option of this name.
    .enablePositionalOptions()
    .addCommand(simulateCamerasCommand())
}

async function simulate (options: SimulateOptions): Promise<void> {
  const settings = readSettings(options, Date.now())
  const timeoutMs = duration(options.timeout, '--timeout')
  if (timeoutMs === 0) throw new UsageError('--timeout 0 leaves no time for a reply; write at least 1')
  // A fault of the file is told before anybody is called.
  const recording = settings.source.type === 'replay' ? await recordingOf(settings.source) : null
  const client = await connectClient(options, { reconnect: true })
  try {
    await withRequests(client, timeoutMs, async asking => {
      const plan = await makePlan(asking, settings, recording)
      const report = await runUntilSignal(client, plan, settings, options.quiet ?? false)
      const verified = settings.verify && report.ending === 'done' ? await verifyLots(asking, report.expected) : null
      const summary = { settings, plan, report, rows: recording?.rows ?? null, verified }
      process.stdout.write(`${options.json ? summaryJson(summary) : summaryText(summary)}\n`)
      if (report.reason !== undefined) process.stderr.write(`parkmq: ${report.reason}\n`)
      process.exitCode = exitCode(report, verified === null || isVerified(verified))
    })
  } finally {
    await endMqtt(client)
  }
}

async function recordingOf ({ file, columns }: { file: string, columns: Parameters<typeof readRecording>[1] }): Promise<Recording> {
  try {
    return await readRecording(file, columns)
  } catch (error) {
    if (error instanceof OperatorError && error.code === 'bad_file') throw new UsageError(error.message, { cause: error })
    throw error
  }
}

async function makePlan (asking: Asking, { source, faults: { seed } }: SimulateSettings, recording: Recording | null): Promise<Plan> {
  if (source.type === 'replay') return await planReplay(asking, recording as Recording, { ...source, seed })
  if (source.capacity !== undefined && source.lots !== undefined) return planBlindTraffic(source.lots, source.capacity, { ...source, seed })
  return await planTraffic(asking, { ...source, seed })
}

/** Subscribes for replies only when the first request is made: a broker without services may not allow it. */
async function withRequests (client: MqttClient, timeoutMs: number, work: (asking: Asking) => Promise<void>): Promise<void> {
  let requester: ReturnType<typeof createRequester> | undefined
  const asking: Asking = {
    async request (method, body) {
      requester ??= createRequester(client, { timeoutMs })
      try {
        return await (await requester).request(method, body)
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'timeout') throw error
        throw new OperatorError('timeout', `nobody answered the request \`${method}\` within ${timeoutMs / 1_000} s: is parkmq's reservation service connected to this broker? Without one, synthetic traffic needs --lots and --capacity, and a replay must do without --create-lots and --verify`, { cause: error })
      }
    }
  }
  try {
    await work(asking)
  } finally {
    if (requester) await (await requester).close()
  }
}

async function runUntilSignal (client: MqttClient, plan: Plan, { source, faults, sending }: SimulateSettings, quiet: boolean): Promise<Report> {
  const stop = new AbortController()
  // The listener stays until the end: the progress line's own one ends the process as soon as it is alone.
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) {
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
      process.kill(process.pid, signal)
      return
    }
    process.stderr.write('\nstopping: waiting for the acknowledgements; Ctrl-C again ends at once\n')
    stop.abort()
  }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  const parts: SimulationParts = { client, ...plan, faults, sending, signal: stop.signal, ...source.type === 'traffic' && { stopAfterMs: stopAfterMs(source) } }
  const simulation = startSimulation(parts)
  const stopProgress = quiet ? () => {} : showProgress(() => simulation.snapshot())
  try {
    return await simulation.done
  } finally {
    stopProgress()
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  }
}

/** A paced source ends by itself, at the same message every time; only one that cannot keep its pace is cut off. */
function stopAfterMs ({ rate, durationMs }: { rate: number, durationMs: number }): number {
  return rate === 0 ? durationMs : durationMs * 1.05 + 1_000
}

function exitCode (report: Report, isRight: boolean): number {
  switch (report.ending) {
    case 'unreachable': return EXIT.unreachable
    case 'interrupted': return EXIT.stopped
    case 'refused': return EXIT.refused
    case 'done': return report.refused > 0 || !isRight ? EXIT.refused : EXIT.done
    default: return report.ending satisfies never
  }
}
