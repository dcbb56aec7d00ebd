// The brokers that scenarios compare, by the names of `--brokers`.
import { findMosquitto, startMosquitto, startParkmq, startStockAedes, type Target } from './processes.js'
import { say } from './figures.js'

export const BROKERS = ['parkmq', 'aedes', 'mosquitto'] as const
export type Broker = (typeof BROKERS)[number]

/** Starts one with an empty data folder. `durable` concerns mosquitto alone: parkmq always keeps its sessions, aedes never. */
export async function startBroker (broker: Broker, { durable = false } = {}): Promise<Target> {
  switch (broker) {
    case 'parkmq': return await startParkmq()
    case 'aedes': return await startStockAedes()
    case 'mosquitto': return await startMosquitto({ durable })
  }
}

/** The asked brokers that are there; says which are not. */
export function available (asked: readonly Broker[]): Broker[] {
  if (!asked.includes('mosquitto') || findMosquitto() !== null) return [...asked]
  say('mosquitto is NOT installed (Debian: apt-get install mosquitto): it is left out of this comparison')
  return asked.filter(broker => broker !== 'mosquitto')
}
