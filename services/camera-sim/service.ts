// Runs simulated cameras at their pace until they are told to stop or their frames are over.
import { setTimeout as sleep } from 'node:timers/promises'
import type { SimulatedCamera } from './camera.js'
import type { FrameSource } from './frames.js'

export interface CameraRun {
  readonly camera: SimulatedCamera
  readonly source: FrameSource
}

export interface CameraRunParts {
  readonly runs: readonly CameraRun[]
  readonly intervalMs: number
  /** Frames of each camera; `Infinity` for as many as there are. */
  readonly count: number
  readonly signal?: AbortSignal
}

/** How long the last frames may take to be acknowledged. */
const SETTLE_MS = 15_000

/** Resolves when every camera has taken its last frame and that is acknowledged, or was not within 15 s. */
export async function runCameras ({ runs, intervalMs, count, signal }: CameraRunParts): Promise<void> {
  await Promise.all(runs.map(async ({ camera, source }, at) => {
    // Not all at once, or every interval would begin with a burst.
    const beganMs = performance.now() + intervalMs * at / runs.length
    for (let number = 0; number < count; number++) {
      await until(beganMs + number * intervalMs, signal)
      if (signal?.aborted) break
      const shot = await source.next()
      if (shot === null) break
      camera.take(shot, Date.now())
    }
    await camera.settled(SETTLE_MS)
  }))
}

async function until (momentMs: number, signal: AbortSignal | undefined): Promise<void> {
  const waitMs = momentMs - performance.now()
  if (waitMs > 0) await sleep(waitMs, undefined, signal ? { signal } : {}).catch(ignoreAbort)
}

function ignoreAbort (error: unknown): void {
  if ((error as Error).name !== 'AbortError') throw error
}
