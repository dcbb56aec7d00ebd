// Who waits for whom: a publisher for a subscriber that makes progress, and for nobody else. Time is real here, because
// what is decided depends on the process's own monotonic clock; no test says how fast anything must be.
import { describe, expect, test } from 'vitest'
import { Flow } from '../../../broker/flow.js'
import { newFlowCounts } from '../../../broker/flow-counts.js'
import { Journal } from '../../../broker/journal.js'
import { Message } from '../../../broker/message.js'
import { Session } from '../../../broker/session.js'
import type { Sink } from '../../../broker/sink.js'
import { systemClock } from '../../../shared/clock.js'
import { createLog } from './silent-log.js'

const SINK: Sink = {
  v5: true, writable: true, maxPacketBytes: 1_000_000, receiveMaximum: 20,
  aliasOf: () => 0, forgetAlias: () => {}, push: () => {}, pubrel: () => {}, overflow: () => {}
}

/** A connected session whose window is full and whose queue is filling. */
function filling (sink: Sink = SINK): Session {
  const session = new Session({
    id: 's', owner: null, limits: { inflight: 20, messages: 100, bytes: 1_000_000, total: { bytes: 0, limit: 10_000_000 } },
    counts: newFlowCounts(), journal: new Journal({ store: null, clock: systemClock, log: createLog() }), nowMs: () => 0, onSlow: () => {}
  })
  session.attach(sink)
  for (let i = 0; i < 90; i++) session.offer(new Message({ topic: 't', payload: Buffer.from('x'), qos: 1, retain: false, from: 'p' }), 1, false, null)
  expect(session.isFilling).toBe(true)
  return session
}

/** Holds a publisher and tells whether that began, and when it goes on. */
function hold (flow: Flow, sessions: Session[], { everybody = true, except = null }: { everybody?: boolean, except?: Session | null } = {}): { began: boolean, goesOn: Promise<void>, isOver: () => boolean } {
  let began = false
  let over = false
  let goOn = (): void => {}
  const goesOn = new Promise<void>(resolve => { goOn = resolve })
  flow.hold({ sessions, everybody }, except, () => {
    began = true
    return () => {
      expect(over).toBe(false)
      over = true
      goOn()
    }
  })
  return { began, goesOn, isOver: () => over }
}

describe('a publisher waits', () => {
  test('for a subscriber that makes progress, until its queue is less than half full', () => {
    const session = filling()
    const { began, isOver } = hold(new Flow(), [session])
    expect([began, isOver()]).toEqual([true, false])
    let id = 1
    for (; session.queued > 50; id++) session.over(id, 1)
    expect(isOver()).toBe(false)
    for (; session.queued > 40; id++) session.over(id, 1)
    expect(isOver()).toBe(true)
  })

  test('until the last of several has caught up', () => {
    const [a, b] = [filling(), filling()]
    const { isOver } = hold(new Flow(), [a, b])
    for (let id = 1; a.queued > 40; id++) a.over(id, 1)
    expect(isOver()).toBe(false)
    for (let id = 1; b.queued > 40; id++) b.over(id, 1)
    expect(isOver()).toBe(true)
  })

  test('no longer when the connection of the subscriber is gone', () => {
    const session = filling()
    const { isOver } = hold(new Flow(), [session])
    session.detach()
    expect(isOver()).toBe(true)
  })

  test('not for ever: a subscriber that stops taking is given up', async () => {
    await hold(new Flow(), [filling()]).goesOn
  })

  test('not for ever: nor is one that takes a little all the time', async () => {
    const session = filling()
    let id = 1
    const trickle = setInterval(() => session.over(id++, 1), 10)
    await hold(new Flow(), [session]).goesOn
    clearInterval(trickle)
    // It was given up on, not waited for to the end.
    expect(session.queued).toBeGreaterThan(47)
  })
})

describe('a publisher does not wait', () => {
  test('for itself', () => {
    const session = filling()
    expect(hold(new Flow(), [session], { except: session }).began).toBe(false)
  })

  test('for one that is not connected', () => {
    const session = filling()
    session.detach()
    expect(hold(new Flow(), [session]).began).toBe(false)
  })

  test('for one that has taken nothing for a while', () => {
    const session = filling()
    session.progressAtMs -= 1_000
    expect(hold(new Flow(), [session]).began).toBe(false)
  })

  test('again and again for one that keeps others waiting', async () => {
    const flow = new Flow()
    const session = filling()
    const holdAgain = (): ReturnType<typeof hold> => {
      session.progressAtMs = performance.now()
      return hold(flow, [session], { everybody: false })
    }
    let holds = 0
    for (let one = holdAgain(); one.began && holds < 20; one = holdAgain()) {
      holds++
      await one.goesOn
    }
    expect(holds).toBeGreaterThan(0)
    expect(holds).toBeLessThan(20)
    // Where nobody else waits, it costs nobody anything.
    session.progressAtMs = performance.now()
    const alone = hold(flow, [session], { everybody: true })
    expect(alone.began).toBe(true)
    await alone.goesOn
  })
})

test('it counts how often and how long', async () => {
  const flow = new Flow()
  await hold(flow, [filling()]).goesOn
  expect(flow.holds).toBe(1)
  expect(flow.heldMs).toBeGreaterThan(0)
})
