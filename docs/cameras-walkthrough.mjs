// Walks through docs/cameras-walkthrough.md with real processes on free ports, and fails where something else is seen than the
// page says: `npm run demo:cameras`. About half a minute.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import mqtt from 'mqtt'

const PROGRAM = fileURLToPath(new URL('../bin/parkmq.js', import.meta.url))
const PATIENCE_MS = 20_000
const folder = mkdtempSync(join(tmpdir(), 'parkmq-demo-'))
const children = new Set()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

/** Starts `parkmq ...`; resolves with its process when a line of its log says `ready`, or at once. */
async function start (args, { ready = false } = {}) {
  console.log(`$ parkmq ${args.join(' ').replaceAll(folder, '.')}`)
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', ready ? 'pipe' : 'ignore', 'inherit'] })
  children.add(child)
  child.once('exit', () => children.delete(child))
  if (!ready) return { child }
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line)
    if (said.msg !== 'ready') continue
    child.stdout.resume()
    return { child, said }
  }
  throw new Error(`parkmq ${args[0]} ended before it was ready`)
}

async function kill ({ child }, what) {
  console.log(`$ kill -9 ${what}`)
  child.kill('SIGKILL')
  await once(child, 'exit')
}

function run (...args) {
  console.log(`$ parkmq ${args.join(' ').replaceAll(folder, '.')}`)
  const { status } = spawnSync(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) throw new Error(`parkmq ${args[0]} ended with ${status}`)
}

const last = new Map()
let look = () => {}

/** Waits until the newest message on a topic fits, and shows it. */
async function see (topic, words, fits) {
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${topic}: ${words} was not seen; it is ${last.get(topic) ?? 'nothing'}`)), PATIENCE_MS)
    look = () => {
      if (!last.has(topic) || !fits(last.get(topic))) return
      clearTimeout(timer)
      resolve()
    }
    look()
  })
  look = () => {}
  console.log(`  ${topic}  ${last.get(topic)}`)
}
const is = text => value => value === text
const quality = (wanted, more = () => true) => text => {
  const state = JSON.parse(text)
  return state.quality === wanted && more(state)
}
const [STATE, PROCESSOR, CAMERA, BAY] = ['lots/CAM-1/state', 'services/camera/looker/status', 'cameras/cam-1/status', 'lots/CAM-1/bays/B01']
const known = text => text === 'free' || text === 'taken'

console.log('# Before: a camera learns its bays')
run('simulate', 'cameras', '--cameras', '1', '--bays', '12', '--count', '12', '--size', '640x360', '--write', join(folder, 'frames'))
mkdirSync(join(folder, 'cameras'))
const config = join(folder, 'cameras', 'cam-1.json')
run('camera', 'calibrate', '--frames', join(folder, 'frames', 'cam-1'), '--camera', 'cam-1', '--lot', 'CAM-1', '--out', config)
// A frame each second instead of each ten, so that three silent intervals are soon over.
writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')), intervalSeconds: 1 }))

console.log('# 1. Steady state')
const parkmq = await start(['start', '--port', '0', '--ws-port', '0', '--data', join(folder, 'data')], { ready: true })
const url = parkmq.said.mqtt
const watcher = await mqtt.connectAsync(url, { protocolVersion: 5 })
watcher.on('message', (topic, payload) => {
  last.set(topic, payload.toString())
  look()
})
await watcher.subscribeAsync(['lots/CAM-1/#', 'services/camera/#', 'cameras/+/status'], { qos: 1 })
const processorArgs = ['camera', 'process', '--url', url, '--cameras', join(folder, 'cameras'), '--node', 'looker']
const cameraArgs = ['simulate', 'cameras', '--url', url, '--cameras', '1', '--bays', '12', '--size', '640x360', '--every', '1s', '--create-lots', '--quiet']
const processor = await start(processorArgs, { ready: true })
const camera = await start(cameraArgs)
await see(PROCESSOR, 'online', is('online'))
await see(CAMERA, 'online', is('online'))
await see(STATE, 'a live lot that cam-1 speaks for', quality('live', ({ sources }) => sources[0]?.sensor === 'cam-1'))
await see(BAY, 'free or taken', known)

console.log('# 2. The processor is killed')
await kill(processor, 'the processor')
await see(PROCESSOR, 'offline', is('offline'))
await see(BAY, 'unknown', is('unknown'))
await see(STATE, 'a stale lot without a free place', quality('stale', ({ free }) => free === 0))

console.log('# 3. The processor is back')
await start(processorArgs, { ready: true })
await see(PROCESSOR, 'online', is('online'))
await see(BAY, 'free or taken', known)
await see(STATE, 'a live lot', quality('live'))

console.log('# 4. The camera is killed')
await kill(camera, 'the camera')
await see(CAMERA, 'offline', is('offline'))
await see(BAY, 'unknown', is('unknown'))
await see(STATE, 'a stale lot', quality('stale'))

console.log('# 5. Both are there')
await start(cameraArgs)
await see(CAMERA, 'online', is('online'))
await see(BAY, 'free or taken', known)
await see(STATE, 'a live lot', quality('live'))

console.log('# Done: everything was seen')
process.exit(0)
