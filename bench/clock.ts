// The machine's monotonic clock, which is the same in every process of a bench.

/** Milliseconds, with a fraction, since some moment that all processes of this machine share. */
export function machineMs (): number {
  return Number(process.hrtime.bigint()) / 1e6
}
