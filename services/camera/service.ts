// The camera service: takes the cameras' frames, looks at their bays in processes of their own, and says what it saw as a sensor
// of the lot. It knows no count and no ledger: that a frame has its effect once is the rule of the sensor's messages. A frame
// is acknowledged when the message about it is committed, or when a newer frame has taken its place.
import { ACCEPTED, RefusedPublishError, type Bus, type Delivery, type Outcome } from '../../shared/bus.js'
import type { Clock } from '../../shared/clock.js'
import type { Config } from '../../shared/config.js'
import { UnavailableError, type Refusal } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { createLimitedWarn, type LimitedWarn, type Log } from '../../shared/log.js'
import type { Metrics } from '../../shared/metrics.js'
import { FRAME_FILTER, topics } from '../../shared/topics.js'
import type { Camera } from './cameras.js'
import { stateOfBays, type Unsure } from './core.js'
import { FRAME_LIMITS } from './frame.js'
import { FrameLine, type Numbered } from './line.js'
import type { Looked } from './look.js'
import { parseFrame, type ArrivedFrame } from './messages.js'
import { Workers } from './workers.js'

/** Processors on one external broker take turns at frames under this name. */
const SHARE = 'parkmq-cameras'
/** So many intervals of silence are too many: then nobody vouches for the camera's bays. */
const SILENT_INTERVALS = 3

export interface CameraServiceParts {
  readonly bus: Bus
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly cameras: readonly Camera[]
  readonly config: Pick<Config, 'node' | 'cameraWorkers' | 'limits'>
  /** The compiled worker.ts; by default that beside this file. */
  readonly worker?: URL | undefined
}

export interface RunningService { stop (): Promise<void> }

/** Starts the service. When it resolves, frames are taken. Throws what loading a classifier threw. */
export async function startCameras (parts: CameraServiceParts): Promise<RunningService> {
  const { bus, config } = parts
  const log = parts.log.child({ service: 'camera' })
  const intake = await FrameIntake.start({ ...parts, log })
  await bus.consume(FRAME_FILTER, { atOnce: true, share: SHARE, handle: async ([delivery]) => delivery ? [await intake.handle(delivery)] : [], dropped: () => parts.metrics.cameraFrames.inc({ outcome: 'internal' }) })
  const status = topics.serviceStatus('camera', config.node)
  await bus.publish(status, 'online', { retain: true })
  return {
    async stop () {
      await intake.stop()
      await bus.publish(status, 'offline', { retain: true })
    }
  }
}

/** A frame in the line, and who waits for what becomes of it. */
interface Waiting extends ArrivedFrame {
  readonly settle: (outcome: Outcome) => void
  readonly fail: (error: unknown) => void
}

class FrameIntake {
  readonly #parts: CameraServiceParts
  readonly #cameras: ReadonlyMap<Id, Camera>
  readonly #warn: LimitedWarn
  readonly #line = new FrameLine<Waiting>()
  /** By camera: what the frame before was not sure of. */
  readonly #unsure = new Map<Id, Unsure>()
  /** By camera: the last frame that was committed here. */
  readonly #last = new Map<Id, Numbered>()
  #workers: Workers | null = null
  #stopped = false

  private constructor (parts: CameraServiceParts) {
    this.#parts = parts
    this.#cameras = new Map(parts.cameras.map(camera => [camera.camera, camera]))
    this.#warn = createLimitedWarn(parts.log, parts.clock)
  }

  static async start (parts: CameraServiceParts): Promise<FrameIntake> {
    const { cameras, log, config: { cameraWorkers, limits } } = parts
    const intake = new FrameIntake(parts)
    intake.#workers = await Workers.start({
      count: cameraWorkers,
      setup: { files: cameras.map(({ file }) => file), limits: { ...FRAME_LIMITS, maxBytes: limits.frameBytes, maxPixels: limits.framePixels } },
      log,
      program: parts.worker ?? new URL('./worker.js', import.meta.url),
      onFree: () => intake.#pump()
    })
    return intake
  }

  /** Resolves when the frame is settled. Throws `UnavailableError` while what it shows cannot be said. */
  async handle (delivery: Delivery): Promise<Outcome> {
    if (this.#stopped) throw new UnavailableError('parkmq stops', { cause: null })
    const parsed = parseFrame(delivery, { cameras: this.#cameras, maxBytes: this.#parts.config.limits.frameBytes })
    if ('refusal' in parsed) return this.#refuse(delivery, parsed.refusal)
    const { frame } = parsed
    const last = this.#last.get(frame.camera)
    // A lower epoch is for occupancy to judge: it tells of it.
    if (last !== undefined && frame.epoch === last.epoch && frame.seq <= last.seq) return this.#accept('old')
    const outcome = await new Promise<Outcome>((settle, fail) => {
      const dropped = this.#line.put({ ...frame, settle, fail })
      dropped?.settle(this.#accept('dropped'))
      this.#pump()
    })
    return outcome.type === 'refused' ? this.#refuse(delivery, outcome.refusal) : outcome
  }

  /** Frames that are not settled come again to whoever takes them next. */
  async stop (): Promise<void> {
    this.#stopped = true
    for (const { fail } of this.#line.clear()) fail(new UnavailableError('parkmq stops', { cause: null }))
    await this.#workers?.stop()
  }

  #pump (): void {
    while (!this.#stopped && this.#workers?.isFree) {
      const waiting = this.#line.take()
      if (waiting === null) return
      void this.#work(waiting, this.#workers)
    }
  }

  async #work (waiting: Waiting, workers: Workers): Promise<void> {
    try {
      const looked = await workers.look({ camera: waiting.camera, bytes: waiting.bytes })
      // The thread is free for another camera while this one's message is committed.
      this.#pump()
      waiting.settle(await this.#say(waiting, looked))
    } catch (error) {
      waiting.fail(this.#stopped ? new UnavailableError('parkmq stops', { cause: error }) : error)
    } finally {
      this.#line.done(waiting.camera)
      this.#pump()
    }
  }

  /** Says what was seen, as the camera; resolves when that is committed. */
  async #say (frame: Waiting, looked: Looked): Promise<Outcome> {
    if ('fault' in looked) throw new Error(`the frame of ${frame.camera} could not be looked at: ${looked.fault}`)
    if ('refusal' in looked) return { type: 'refused', refusal: looked.refusal }
    const camera = this.#cameras.get(frame.camera)
    if (camera === undefined) throw new Error(`the camera ${frame.camera} is not set up`)
    const { bus, clock, metrics } = this.#parts
    const { bays, unsure } = stateOfBays(this.#unsure.get(frame.camera) ?? NOT_UNSURE, looked.judgements, clock.nowMs(), camera)
    const { epoch, seq, capturedAt } = frame
    const standsForSeconds = Math.ceil(SILENT_INTERVALS * camera.intervalMs / 1_000)
    try {
      await bus.publish(topics.sensor(frame.lot), JSON.stringify({ sensor: frame.camera, epoch, seq, at: capturedAt, bays: Object.fromEntries(bays), whole: true, standsForSeconds }), JSON_MESSAGE)
    } catch (error) {
      if (error instanceof RefusedPublishError) return { type: 'refused', refusal: error.refusal }
      throw new UnavailableError('what a frame shows cannot be said now', { cause: error })
    }
    this.#unsure.set(frame.camera, unsure)
    this.#last.set(frame.camera, { camera: frame.camera, epoch, seq })
    metrics.cameraUnsure.inc(unsure.size)
    metrics.cameraSeconds.observe(Math.max(0, clock.nowMs() - frame.receivedAtMs) / 1_000)
    return this.#accept('applied')
  }

  #accept (outcome: string): Outcome {
    this.#parts.metrics.cameraFrames.inc({ outcome })
    return ACCEPTED
  }

  #refuse ({ topic, clientId }: Delivery, refusal: Refusal): Outcome {
    this.#parts.metrics.cameraFrames.inc({ outcome: refusal.code })
    this.#warn(topic, { code: refusal.code, topic: topic.slice(0, 200), clientId }, refusal.message)
    return { type: 'refused', refusal }
  }
}

const NOT_UNSURE: Unsure = new Map()
const JSON_MESSAGE = { qos: 1, properties: { contentType: 'application/json', payloadFormatIndicator: 1 } } as const
