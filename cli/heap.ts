// How much garbage a server with many lots lets lie. V8 lets the heap of a machine with much memory grow to four times what is in
// use before it looks for garbage among what is old; most of ours is retained messages that newer ones have replaced, and
// many lots would take several times their memory for nothing.
import { setFlagsFromString } from 'node:v8'

/** Lots from which on their memory matters more than the time that collecting it takes: with few, that is an eighth of all messages a second. */
const MANY_LOTS = 10_000
/** Garbage that may lie then, in per cent of what is in use. */
const GARBAGE_PERCENT = 20

/** To be called when the lots are known; V8 asks for it at each collection from then on. */
export function keepHeapSmall (lots: number): void {
  if (lots >= MANY_LOTS) setFlagsFromString(`--heap-growing-percent=${GARBAGE_PERCENT}`)
}
