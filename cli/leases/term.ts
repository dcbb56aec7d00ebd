// A share in the hands of this process: from when it has the lease until it has it no more. Each connection for it begins and ends
// here. Before a connection is made, and again before anything is done over it, the lease is proved by its epoch: a process that was
// stopped and goes on must not push out the new owner, and if it does by a hair, must do nothing with it.
import { FencedError, messageOf, OperatorError } from '../../shared/errors.js'
import type { Clock } from '../../shared/clock.js'
import type { Log } from '../../shared/log.js'
import { LoginRefusedError } from '../../shared/mqtt-client.js'
import type { MqttSession } from '../../shared/mqtt-session.js'
import type { Fence, Lease, Leases } from '../../storage/leases.js'

/** How long an end of the connection, or of the database, is followed by a rest, in milliseconds. */
const REST_MS = 100

/** What is done over one connection; `stop` is called when nothing more is handed over, and may still publish. */
export interface Work { stop (): Promise<void> }

export interface TermParts {
  readonly lease: Lease
  readonly leases: Leases
  readonly clock: Clock
  readonly log: Log
  readonly connect: (share: string) => Promise<MqttSession>
  readonly begin: (lease: Lease, session: MqttSession, fence: Fence) => Promise<Work>
}

/** `lost`: another may have it. `left`: it was ended here. `failed`: it has no way to the broker; `error` says why. */
export type TermEnd = { readonly why: 'lost' | 'left' } | { readonly why: 'failed', readonly error: unknown }

export class Term {
  readonly lease: Lease
  /** Resolves when the share is being served for the first time, or its term is over. */
  readonly begun: Promise<void>
  /** Never rejects. */
  readonly ended: Promise<TermEnd>
  readonly #parts: TermParts
  #session: MqttSession | null = null
  #leaving = false
  #lost = false
  #wake: () => void = () => {}
  #onBegun: () => void = () => {}

  constructor (parts: TermParts) {
    this.#parts = parts
    this.lease = parts.lease
    this.begun = new Promise(resolve => { this.#onBegun = resolve })
    this.ended = this.#run().catch((error: unknown): TermEnd => ({ why: 'failed', error })).finally(() => this.#onBegun())
  }

  /** Finishes what has arrived, tells what it changed, and disconnects. */
  leave (): void {
    this.#leaving = true
    this.#wake()
  }

  /** The lease is another's: nothing more is done for the share. */
  lose (): void {
    this.#lost = true
    this.#session?.cut()
    this.#wake()
  }

  async #run (): Promise<TermEnd> {
    const { lease, connect } = this.#parts
    for (;;) {
      const before = await this.#proof()
      if (before !== null) return before
      const session = await connect(lease.share)
      this.#session = session
      try {
        const after = await this.#proof()
        if (after !== null) return after
        await this.#serve(session)
      } finally {
        this.#session = null
        await session.close()
      }
      if (this.#leaving) return { why: 'left' }
      if (this.#lost) return { why: 'lost' }
      // Somebody else with this client id would otherwise be pushed out, and push us out, without a pause.
      this.#parts.log.warn({ share: lease.share }, 'the connection for a share is lost, or another client took its client id; it is made again if the share is still ours')
      await this.#rest()
    }
  }

  /** Null when the lease is ours; waits while the database does not say. */
  async #proof (): Promise<TermEnd | null> {
    const { leases, lease, log } = this.#parts
    for (;;) {
      if (this.#lost) return { why: 'lost' }
      if (this.#leaving) return { why: 'left' }
      try {
        return await leases.isOurs(lease) ? null : { why: 'lost' }
      } catch (err) {
        log.debug({ err, share: lease.share }, 'the database does not say whose the share is; it is asked again')
      }
      await this.#rest()
    }
  }

  async #serve (session: MqttSession): Promise<void> {
    const { lease, leases, begin, log } = this.#parts
    let work: Work | null = null
    try {
      work = await begin(lease, session, leases.fence(lease))
      this.#onBegun()
      await Promise.race([session.ended, new Promise<void>(resolve => {
        this.#wake = resolve
        if (this.#leaving || this.#lost) resolve()
      })])
      if (!this.#lost) await session.finish()
    } catch (error) {
      if (isFinal(error)) throw error
      // The connection or the database went meanwhile: it is begun anew, if the share is still ours.
      log.warn({ share: lease.share, why: messageOf(error) }, 'a share could not be served; it is tried again')
      await this.#rest()
    } finally {
      await work?.stop().catch((err: unknown) => {
        if (err instanceof FencedError) log.debug({ err }, 'what was left of a share is another\'s')
        else log.warn({ err, share: lease.share }, 'a share did not end cleanly')
      })
    }
  }

  async #rest (): Promise<void> {
    await new Promise<void>(resolve => {
      this.#wake = resolve
      this.#parts.clock.after(REST_MS, resolve)
      if (this.#leaving || this.#lost) resolve()
    })
  }
}

/** What another try does not mend: the broker does not let this client in, or does not let it do what it must. */
export function isFinal (error: unknown): boolean {
  return error instanceof OperatorError || error instanceof LoginRefusedError
}
