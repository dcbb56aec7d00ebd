// What `experiment semantics` prints: a table for people, the same as JSON for programs, and the line of its progress.
import { table } from '../table.js'
import type { FaultCounts } from './fault-proxy.js'
import type { MethodReport, ModeReport, Progress, SemanticsSettings } from './semantics.js'

const MEANING = { off: 'at least once', on: 'exactly once in effect' } as const

/** Whether each request had its effect at most once and, when it was answered, once, and no reply that it should not have got. */
export function isExactlyOnce (mode: ModeReport): boolean {
  return mode.methods.every(({ executedMoreThanOnce, wrongErrors, wrongState }) => executedMoreThanOnce === 0 && total(wrongErrors) === 0 && wrongState === 0)
}

export function reportText (settings: SemanticsSettings, modes: readonly ModeReport[]): string {
  const { faults: { seed, loss, duplicate, delayMs }, requests, clients } = settings
  return [
    `${count(requests)} requests of each method from ${clients} ${clients === 1 ? 'client' : 'clients'}; of the packets with requests and of those with replies ${percent(loss)} are lost`,
    `and ${percent(duplicate)} of the others come twice, each up to ${delayMs} ms late; seed ${seed}.`,
    '',
    table(
      ['HISTORY', 'METHOD', 'REQUESTS', 'RETRIES', 'EXECUTED MORE THAN ONCE', 'WRONG ERRORS', 'UNANSWERED', 'FINAL STATE'],
      modes.flatMap(({ history, methods }) => methods.map(method => [
        history, method.method, method.requests, method.retries, method.executedMoreThanOnce, total(method.wrongErrors), method.unanswered, finalState(method)
      ]))
    ),
    '',
    ...modes.map(modeLine),
    ...modes.flatMap(({ history, methods }) => methods.filter(({ wrongErrors }) => total(wrongErrors) > 0)
      .map(({ method, wrongErrors }) => `wrong errors of ${method} with the history ${history}: ${Object.entries(wrongErrors).map(([code, n]) => `${code} ${count(n)}`).join(', ')}`))
  ].join('\n')
}

/** One JSON object. */
export function reportJson ({ faults, requests, clients }: SemanticsSettings, modes: readonly ModeReport[]): string {
  return JSON.stringify({
    experiment: 'semantics', ...faults, requests, clients,
    modes: modes.map(({ methods, ...mode }) => ({ ...mode, exactlyOnce: isExactlyOnce({ ...mode, methods }), methods }))
  })
}

export function progressLine ({ history, done, of }: Progress, seconds: number): string {
  return `history ${history}: ${count(done)} of ${count(of)} requests are over  ${seconds.toFixed(1)} s`
}

function modeLine ({ history, seconds, packets: { toBroker, toClients } }: ModeReport): string {
  return `history ${history} (${MEANING[history]}): ${seconds.toFixed(1)} s; requests ${fateText(toBroker)}; replies ${fateText(toClients)}`
}

function fateText ({ came, lost, doubled }: FaultCounts): string {
  return `${count(came)}, lost ${count(lost)}, doubled ${count(doubled)}`
}

function finalState ({ wrongState, requests }: MethodReport): string {
  return wrongState === 0 ? 'right' : `wrong: ${count(wrongState)} of ${count(requests)}`
}

function total (errors: Readonly<Record<string, number>>): number {
  return Object.values(errors).reduce((all, n) => all + n, 0)
}

function percent (share: number): string {
  return `${Number((share * 100).toFixed(2))} %`
}

function count (n: number): string {
  return n.toLocaleString('en-GB')
}
