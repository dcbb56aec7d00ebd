// What a commit waits for at least, for `parkmq doctor`: how long the disk below the data folder takes to sync.
import { mkdtemp, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../shared/errors.js'
import type { Check } from './check.js'

/** A PUBACK then takes a twentieth of a second under load, in milliseconds. */
const SLOW_SYNC_MS = 20
const PAGE_BYTES = 4_096
const SYNCS = 9

/** Writes into a folder of its own within `folder` and removes it. */
export async function checkDisk (folder: string): Promise<Check> {
  const name = 'disk'
  try {
    const syncMs = await medianSyncMs(folder)
    const isSlow = syncMs >= SLOW_SYNC_MS
    const said = `a sync takes ${syncMs.toFixed(syncMs < 10 ? 2 : 0)} ms`
    return { name, ok: true, ...isSlow && { warning: true as const }, said: isSlow ? `${said}: each acknowledgement waits for one or two; a faster disk for the data folder (--data) makes them sooner` : said }
  } catch (error) {
    return { name, ok: false, said: `${folder} cannot be written and synced: ${messageOf(error)}` }
  }
}

async function medianSyncMs (folder: string): Promise<number> {
  const own = await mkdtemp(join(folder, '.parkmq-sync-'))
  try {
    const file = await open(join(own, 'page'), 'w')
    try {
      const page = Buffer.alloc(PAGE_BYTES, 1)
      const tookMs: number[] = []
      for (let n = 0; n < SYNCS; n++) {
        await file.write(page)
        const startedMs = performance.now()
        await file.datasync()
        tookMs.push(performance.now() - startedMs)
      }
      return tookMs.sort((a, b) => a - b)[(SYNCS - 1) / 2] ?? NaN
    } finally {
      await file.close()
    }
  } finally {
    await rm(own, { recursive: true, force: true })
  }
}
