// How much garbage the server lets lie. V8 lets the heap of a machine with much memory grow to four times what is in use before
// it looks for garbage among what is old; most of ours is retained messages that newer ones have replaced, and a campus
// with many lots would take several times its memory for nothing.
import { setFlagsFromString } from 'node:v8'

/** Garbage that may lie, in per cent of what is in use. */
const GARBAGE_PERCENT = 20

/** To be called before the heap grows; V8 asks for it at each collection. */
export function keepHeapSmall (): void {
  setFlagsFromString(`--heap-growing-percent=${GARBAGE_PERCENT}`)
}
