// A disk that fails below the sessions of the real process: full, read-only, with I/O errors. Nothing is acknowledged
// that is not stored, clients that do not need the disk go on, and when it works again everything is acknowledged,
// stored and, after kill -9, found.
import { describe, expect, test } from 'vitest'
import { failing, fillDisk, lackedForFaults, smallDisk } from '../support/faulty-disk.js'
import { startProcess, type ParkmqProcess } from '../support/process.js'
import { StubbornClient } from '../support/stubborn-client.js'

const lacked = lackedForFaults()
if (lacked !== null) console.warn(`skipped: tests of sessions on a failing disk need ${lacked}`)

const FAULTS = {
  'a full disk': fillDisk,
  'a file system that turned read-only': failing('sessions.db', 'pwrite64', 'EROFS'),
  'a disk that cannot be synced': failing('sessions.db', 'fdatasync,fsync', 'EIO')
}

const said = (parkmq: ParkmqProcess, words: string): boolean => parkmq.log.some(line => String(line.msg).includes(words))

/** A client without a session to keep. */
async function connected (parkmq: ParkmqProcess, clientId: string): Promise<StubbornClient> {
  const client = new StubbornClient({ clientId })
  await client.connect(parkmq.port)
  return client
}

/** Everything is acknowledged; the client comes back as often as it is closed. */
async function finished (client: StubbornClient, parkmq: ParkmqProcess): Promise<void> {
  while (client.unfinished > 0) {
    if (!client.isConnected) await client.connect(parkmq.port)
    await client.until(() => client.unfinished === 0 || !client.isConnected)
  }
}

describe.skipIf(lacked !== null).each(Object.entries(FAULTS))('%s', (_, begin) => {
  test('delays the acknowledgements that depend on it, and nothing else', { timeout: 60_000 }, async () => {
    const disk = smallDisk(6)
    const parkmq = await startProcess(disk)
    const away = await connected(parkmq, 'away')
    await away.ask({ cmd: 'subscribe', filter: 'kept/#' }, 2)
    await away.leave()
    const sender = await connected(parkmq, 'sender')
    const receiver = new StubbornClient({ clientId: 'receiver', sessionExpirySeconds: 0 })
    await receiver.connect(parkmq.port)
    await receiver.ask({ cmd: 'subscribe', filter: 'live/#' }, 1)
    const live = new StubbornClient({ clientId: 'live', sessionExpirySeconds: 0 })
    await live.connect(parkmq.port)
    sender.publish('kept/0', 'before', 1)
    await sender.until(() => sender.unfinished === 0)

    const fault = await begin(disk, parkmq.process)
    // It may take some until the write-ahead log needs room.
    let made = 0
    while (!said(parkmq, 'sessions cannot be stored') && made < 400) {
      sender.publish(`kept/${made % 50}`, `${++made} ${'x'.repeat(4_000)}`, made % 2 === 0 ? 1 : 2, made % 50 === 1)
      live.publish('live/x', `${made}`, 1)
      await receiver.until(() => receiver.received.at(-1)?.payload === String(made))
      await live.until(() => live.unfinished === 0)
    }
    await expect.poll(() => said(parkmq, 'sessions cannot be stored')).toBe(true)
    const acknowledged = sender.acknowledged.length
    for (let i = 0; i < 50; i++) {
      sender.publish(`kept/${i}`, `${++made} x`, 1)
      live.publish('live/x', `more ${i}`, 1)
    }
    await receiver.until(() => receiver.received.at(-1)?.payload === 'more 49')
    await live.until(() => live.unfinished === 0)
    expect(sender.acknowledged).toHaveLength(acknowledged)
    // Those who wait are told after 5 s, and send again.
    await sender.until(() => !sender.isConnected)
    expect(sender.disconnectReason).toBe(0x89)

    await fault.mend()
    await finished(sender, parkmq)
    expect(said(parkmq, 'sessions can be stored again')).toBe(true)
    expect(sender.acknowledged).toHaveLength(made + 1)
    await parkmq.kill()

    const again = await startProcess(disk)
    expect((await away.connect(again.port)).sessionPresent).toBe(true)
    const payloads = new Set(sender.acknowledged)
    await away.until(() => new Set(away.received.map(({ payload }) => payload)).size === payloads.size)
    expect(new Set(away.received.map(({ payload }) => payload))).toEqual(payloads)
    await away.leave()
    expect(await again.stop()).toBe(0)
  })
})

test.skipIf(lacked !== null)('a process that cannot store ends nevertheless when it is asked to, and says what that costs', { timeout: 60_000 }, async () => {
  const disk = smallDisk(6)
  const parkmq = await startProcess(disk)
  const client = await connected(parkmq, 'c')
  await failing('sessions.db', 'pwrite64', 'EROFS')(disk, parkmq.process)
  void client.ask({ cmd: 'subscribe', filter: 'a' })
  await expect.poll(() => said(parkmq, 'sessions cannot be stored')).toBe(true)
  expect(await parkmq.stop()).toBe(0)
  expect(said(parkmq, 'sessions could not be stored before the end')).toBe(true)
  expect(said(parkmq, 'stopped')).toBe(true)
})
