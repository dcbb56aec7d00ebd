// `experiment`: what parkmq's guarantees are worth, shown on a system of its own in this process. It touches no running
// parkmq, and the temporary data folder is removed at the end.
import { Command } from 'commander'
import { OperatorError } from '../../shared/errors.js'
import { UsageError } from '../client.js'
import { EXIT } from '../exit.js'
import { duration, share, whole } from '../simulate-options.js'
import { showLine } from '../simulate-output.js'
import { untilInterrupted } from '../until-signal.js'
import { isExactlyOnce, progressLine, reportJson, reportText } from './report.js'
import { AT_ONCE, runSemantics, type Progress, type SemanticsSettings } from './semantics.js'

export interface SemanticsOptions {
  loss: string
  duplicate: string
  delay: string
  requests: string
  clients: string
  seed: string
  giveUp: string
  json?: boolean
  quiet?: boolean
}

/** Beyond it most requests would stay unanswered, whatever the number of tries. */
const MOST_LOSS = 0.9
const MOST_REQUESTS = 100_000
const MOST_CLIENTS = 100
const LONGEST_DELAY_MS = 5_000
const MAX_SEED = 2 ** 32 - 1

const EXPLANATION = `
Clients send each request again, with the same requestId, until it is answered. Without the request history a repeat is
carried out like a new request (at least once); with it the repeat gets the reply of the first (exactly once in effect).
extend names minutes from the original end and is idempotent; cancel, reserve and buyPermit are not.

  EXECUTED MORE THAN ONCE   logical requests that the service carried out more than once
  WRONG ERRORS              refusals that a logical request should not have got, such as already_cancelled for its only cancel
  UNANSWERED                no reply in all tries: its effect may be there or not, but not twice
  FINAL STATE               whether the ledger has in the end what the logical requests should have caused

The history is left out for this experiment alone: parkmq start has no way to do without it.

Exit codes: 0 exactly once with the history; 1 not; 2 wrong usage; 130 Ctrl-C.`

export function experimentCommand (): Command {
  return new Command('experiment')
    .description('show what a guarantee is worth, on a system of its own in this process')
    .addCommand(new Command('semantics')
      .description('requests with retries over a bad network, without and with the request history')
      .option('--loss <share>', `share of the requests and of the replies that are lost, 0 to ${MOST_LOSS}`, '0.2')
      .option('--duplicate <share>', 'share of the others that come twice', '0.2')
      .option('--delay <ms>', 'each copy comes up to so many milliseconds late', '50')
      .option('--requests <n>', 'logical requests of each method', '2000')
      .option('--clients <n>', `clients at once; each has ${AT_ONCE} requests of each method under way`, '8')
      .option('--seed <n>', 'the same seed loses the same packets', '1')
      .option('--give-up <time>', 'stop when it takes longer: 30s, 10m', '10m')
      .option('--json', 'print the result as JSON, for programs')
      .option('--quiet', 'no progress on stderr')
      .addHelpText('after', EXPLANATION)
      .action(semantics))
}

async function semantics (options: SemanticsOptions): Promise<void> {
  const settings = readSettings(options)
  const giveUpMs = duration(options.giveUp, '--give-up')
  const giveUp = new OperatorError('gave_up', `the experiment took longer than ${options.giveUp}; ask for fewer --requests, more --clients or a longer --give-up`)
  const modes = await untilInterrupted('stopping; Ctrl-C again ends at once and leaves the temporary folder', async stop => {
    const timer = setTimeout(() => stop.abort(giveUp), giveUpMs)
    const startedMs = performance.now()
    let progress: Progress = { history: 'off', done: 0, of: 0 }
    const line = (): string => progress.of === 0 ? 'making what the requests are about' : progressLine(progress, (performance.now() - startedMs) / 1_000)
    // At once, not only at the first interval: where it is no terminal that may be later than what it tells of.
    if (!options.quiet && !process.stderr.isTTY) process.stderr.write(`${line()}\n`)
    const stopProgress = options.quiet ? () => {} : showLine(line)
    try {
      return await runSemantics({ settings, signal: stop.signal, onProgress: now => { progress = now } })
    } finally {
      clearTimeout(timer)
      stopProgress()
    }
  })
  if (modes === null) return
  process.stdout.write(`${options.json ? reportJson(settings, modes) : reportText(settings, modes)}\n`)
  const broken = modes.some(mode => mode.history === 'on' && !isExactlyOnce(mode))
  if (broken) process.stderr.write('parkmq: with the request history a request had its effect twice, or not, or a wrong reply\n')
  process.exitCode = broken ? EXIT.refused : EXIT.done
}

/** Throws `UsageError` that names the option, its value and the fix. */
export function readSettings (options: Omit<SemanticsOptions, 'giveUp' | 'json' | 'quiet'>): SemanticsSettings {
  const loss = share(options.loss, '--loss')
  if (loss > MOST_LOSS) throw new UsageError(`--loss ${options.loss} leaves hardly a request answered; write a number from 0 to ${MOST_LOSS}`)
  return {
    faults: {
      seed: whole(options.seed, '--seed', 0, MAX_SEED),
      loss,
      duplicate: share(options.duplicate, '--duplicate'),
      delayMs: whole(options.delay, '--delay', 0, LONGEST_DELAY_MS)
    },
    requests: whole(options.requests, '--requests', 1, MOST_REQUESTS),
    clients: whole(options.clients, '--clients', 1, MOST_CLIENTS)
  }
}
