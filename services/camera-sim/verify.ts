// What the broker says of each bay, beside what was true in the last frame that was acknowledged.
import type { MqttClient } from 'mqtt'
import type { BayState } from '../../shared/lot.js'
import { topics } from '../../shared/topics.js'
import type { SimulatedCamera } from './camera.js'

export interface Verified {
  readonly camera: string
  readonly lot: string
  readonly bays: number
  readonly right: number
  readonly unknown: number
  /** `B07 is taken and was said to be free` */
  readonly wrong: readonly string[]
}

/** How long the broker may take to say what it has, in milliseconds. */
const WITHIN_MS = 5_000

/** Subscribes to the bays of each camera's lot. A bay of which nothing comes is unknown; cameras without a truth are left out. */
export async function verifyBays (client: MqttClient, cameras: readonly SimulatedCamera[]): Promise<Verified[]> {
  const known = cameras.flatMap(camera => {
    const { truth } = camera.counts()
    return truth === null ? [] : [{ camera, truth }]
  })
  const wanted = new Set(known.flatMap(({ camera, truth }) => truth.bays.map(({ bay }) => topics.bay(camera.lot, bay))))
  const said = await retainedOf(client, wanted, [...new Set(known.map(({ camera }) => `lots/${camera.lot}/bays/+`))])
  return known.map(({ camera, truth }) => {
    const states = truth.bays.map(({ bay, occupied }) => ({ bay, is: occupied ? 'taken' : 'free', said: said.get(topics.bay(camera.lot, bay)) ?? 'unknown' }))
    const wrong = states.filter(state => state.said !== 'unknown' && state.said !== state.is)
    return {
      camera: camera.name, lot: camera.lot, bays: states.length, wrong: wrong.map(state => `${state.bay} is ${state.is} and was said to be ${state.said}`),
      right: states.filter(state => state.said === state.is).length, unknown: states.filter(state => state.said === 'unknown').length
    }
  })
}

async function retainedOf (client: MqttClient, wanted: ReadonlySet<string>, filters: readonly string[]): Promise<Map<string, BayState>> {
  const said = new Map<string, BayState>()
  if (wanted.size === 0) return said
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(resolve, WITHIN_MS)
    client.on('message', (topic, payload) => {
      if (!wanted.has(topic)) return
      said.set(topic, payload.toString() as BayState)
      if (said.size < wanted.size) return
      clearTimeout(timer)
      resolve()
    })
    client.subscribeAsync([...filters], { qos: 1 }).catch(reject)
  })
  return said
}
