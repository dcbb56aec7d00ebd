// Back-pressure: makes the publisher of a message wait for subscribers whose queues are filling, so that a healthy one
// loses nothing in a burst. It never makes anybody wait for a subscriber that takes nothing, for long, or at the cost of
// subscribers that keep up.
import type { Filling } from './router.js'
import type { Session } from './session.js'

/** Longest time that one message makes its publisher wait, in milliseconds. */
const LONGEST_HOLD_MS = 100
/** A subscriber that has taken nothing for so long is not waited for. */
const WITHOUT_PROGRESS_MS = 100
/** How long one subscriber may delay what others would have got at once: so much, and so much of the time. */
const MOST_CREDIT_MS = 250
const CREDIT_PER_MS = 0.05
/** And so much for each message that it takes: whoever takes 500 in a second makes others wait as long as it needs. */
const CREDIT_PER_MESSAGE_MS = 2

/** How long a subscriber may still make others wait. */
interface Credit {
  leftMs: number
  countedAtMs: number
  countedSent: number
}

export class Flow {
  readonly #credits = new WeakMap<Session, Credit>()
  /** Times that a publisher waited, and how long in all. */
  holds = 0
  heldMs = 0

  /**
   * Makes a publisher wait if that helps: `begin` stops it and returns how it goes on, which is called when the
   * subscribers have caught up or nobody waits for them any more. Without anything to wait for `begin` is not called.
   * `except` is the publisher's own session: it never waits for itself.
   */
  hold ({ sessions, everybody }: Filling, except: Session | null, begin: () => () => void): void {
    const nowMs = performance.now()
    const isWaitedFor = (session: Session): boolean => session !== except && this.#isWorthIt(session, everybody, nowMs)
    if (!sessions.some(isWaitedFor)) return
    const waitedFor = new Set(sessions.filter(isWaitedFor))
    const goOn = begin()
    this.holds++
    const cancels: (() => void)[] = []
    let over = false
    const finish = (): void => {
      if (over) return
      over = true
      clearTimeout(timer)
      for (const cancel of cancels) cancel()
      const tookMs = performance.now() - nowMs
      this.heldMs += tookMs
      if (!everybody) for (const session of sessions) this.#creditOf(session, performance.now()).leftMs -= tookMs
      goOn()
    }
    const look = (): void => {
      const laterMs = performance.now()
      for (const session of waitedFor) if (laterMs - session.progressAtMs > WITHOUT_PROGRESS_MS) waitedFor.delete(session)
      if (waitedFor.size === 0 || laterMs - nowMs >= LONGEST_HOLD_MS) finish()
      else timer = setTimeout(lookSoon, WITHOUT_PROGRESS_MS)
    }
    // When the process was busy for so long, acknowledgements wait to be read: they come first, then the judgement.
    const lookSoon = (): void => { setImmediate(() => { if (!over) look() }) }
    let timer = setTimeout(lookSoon, WITHOUT_PROGRESS_MS)
    for (const session of waitedFor) {
      cancels.push(session.whenRelieved(() => {
        waitedFor.delete(session)
        if (waitedFor.size === 0) finish()
      }))
    }
  }

  #isWorthIt (session: Session, everybody: boolean, nowMs: number): boolean {
    if (!session.connected || nowMs - session.progressAtMs > WITHOUT_PROGRESS_MS) return false
    return everybody || this.#creditOf(session, nowMs).leftMs > 0
  }

  #creditOf (session: Session, nowMs: number): Credit {
    let credit = this.#credits.get(session)
    if (credit === undefined) this.#credits.set(session, credit = { leftMs: MOST_CREDIT_MS, countedAtMs: nowMs, countedSent: session.own.sent })
    const earnedMs = (nowMs - credit.countedAtMs) * CREDIT_PER_MS + (session.own.sent - credit.countedSent) * CREDIT_PER_MESSAGE_MS
    credit.leftMs = Math.min(MOST_CREDIT_MS, credit.leftMs + earnedMs)
    credit.countedAtMs = nowMs
    credit.countedSent = session.own.sent
    return credit
  }
}
