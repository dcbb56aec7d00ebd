// Who a connection belongs to: by its certificate, by user name and password, or nobody in particular. It says yes or no
// and why in one word, takes the same time for a user that is not there as for a wrong password, and never repeats a password.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { ANONYMOUS, type Identity } from '../shared/access.js'
import type { Clock } from '../shared/clock.js'
import type { Config } from '../shared/config.js'
import { createLimitedWarn, type Log } from '../shared/log.js'
import type { Metrics } from '../shared/metrics.js'
import { ID_PATTERN } from '../shared/topics.js'
import { BackgroundScrypt } from './background-scrypt.js'
import { LoginLine } from './login-line.js'
import { addressKey, Failures, FailuresOfNames } from './login-throttle.js'
import { dummyHash, isCheap, MAX_PASSWORD_BYTES, verifyPassword } from './password.js'
import type { User, Users } from './users.js'

/** Checks of a password at once: one flood then leaves the other for the rest, and two leave threads for files. */
const CHECKS_AT_ONCE = 2
/** Addresses from which a user is remembered to have logged in. */
const ADDRESSES_OF_USER = 32

/** What a CONNECT says of who it comes from. */
export interface Attempt {
  /** Null where there is none. */
  readonly username: string | null
  readonly password: Uint8Array | null
  readonly address: string
  /** For the audit only: nothing depends on it. */
  readonly clientId: string | null
  /** Common name of a client certificate that TLS has verified; null where there is none. */
  readonly certificateName: string | null
  /** Aborted when the connection is gone: it then keeps nobody else waiting. */
  readonly signal?: AbortSignal
}

/** `bad_credentials`: 0x86 (3.1.1: 4). `not_authorized`: 0x87 (5). `too_many`: 0x89 (3); the same may be tried again later. */
export type LoginRefusal = 'bad_credentials' | 'not_authorized' | 'too_many'

export interface Welcome {
  readonly identity: Identity
  /** Whether the user is still who it was when this was said. */
  readonly isCurrent: () => boolean
}

/** `words` are for the client: they tell nothing about which users there are. */
export type Verdict = Welcome | { readonly refused: LoginRefusal, readonly words: string }

/** How it was answered; `gone`: the connection was gone before. */
export type LoginOutcome = 'anonymous' | 'password' | 'certificate' | LoginRefusal | 'gone'

export interface LoginEvent {
  /** The user, or the name that was tried; null where there is none, or it is not even a name (and might be anything). */
  readonly user: string | null
  readonly address: string
  readonly clientId: string | null
  readonly outcome: LoginOutcome
}

export interface LoginParts {
  readonly users: Users
  readonly config: Pick<Config, 'allowAnonymous' | 'limits' | 'times'>
  readonly clock: Clock
  readonly report: { readonly log: Log, readonly metrics: Pick<Metrics, 'logins'> }
  /** Told of every answer, for the audit. */
  readonly onLogin?: (event: LoginEvent) => void
}

export interface Login {
  /** Never throws. What it answers counts as long as it `isCurrent`; `Users.onChange` tells when that is over. */
  check (attempt: Attempt): Promise<Verdict>
  /** What a user may do now, null for whoever said no name; null when it may not come in. */
  identityOf (user: string | null): Identity | null
  /** Whether there is a user of this name. */
  isUser (name: string): boolean
  /** Sends away who waits, and keeps nothing. */
  close (): void
}

const WRONG = { refused: 'bad_credentials', words: 'wrong user name or password' } as const
const NAMELESS = { refused: 'not_authorized', words: 'a user name and password are needed here' } as const
const TOO_MANY = { refused: 'too_many', words: 'too many log-ins wait to be checked; try again later' } as const

/** Makes the log-in. It hears of changed users first if it is made before others listen. */
export function createLogin (parts: LoginParts): Login {
  const { users, clock, report, onLogin } = parts
  const warn = createLimitedWarn(report.log, clock)
  const door = new Door(parts)

  const welcomeUser = (user: User): Welcome => ({ identity: identityOf(user), isCurrent: () => users.find(user.name) === user })

  const answer = (attempt: Attempt, outcome: LoginOutcome, verdict: Verdict): Verdict => {
    const { address, clientId, username } = attempt
    const tried = 'identity' in verdict ? verdict.identity.user : username
    const user = tried !== null && ID_PATTERN.test(tried) ? tried : null
    report.metrics.logins.inc({ outcome })
    if ('refused' in verdict && outcome !== 'gone') warn(addressKey(address), { address, clientId, user, outcome }, 'a log-in was refused')
    onLogin?.({ user, address, clientId, outcome })
    return verdict
  }

  return {
    async check (attempt) {
      const { username, certificateName } = attempt
      const certified = certificateName === null ? undefined : users.byCertificate(certificateName)
      // Whoever names another user than the certificate's has to prove that.
      if (certified && (username === null || username === certified.name)) return answer(attempt, 'certificate', welcomeUser(certified))
      if (username === null) {
        return parts.config.allowAnonymous ? answer(attempt, 'anonymous', { identity: ANONYMOUS, isCurrent: () => true }) : answer(attempt, 'not_authorized', NAMELESS)
      }
      const found = await door.check(username, attempt)
      if (typeof found === 'object') return answer(attempt, 'password', welcomeUser(found))
      return answer(attempt, found, found === 'bad_credentials' ? WRONG : TOO_MANY)
    },
    identityOf (name) {
      if (name === null) return parts.config.allowAnonymous ? ANONYMOUS : null
      const user = users.find(name)
      return user === undefined ? null : identityOf(user)
    },
    isUser: name => users.find(name) !== undefined,
    close: () => door.close()
  }
}

function identityOf ({ name, role, lots }: User): Identity {
  return { user: name, role, lots }
}

/** What is kept of a successful log-in until the user changes, so that coming back costs nothing. */
interface Remembered {
  /** The user whose password it was; another object under the same name is another user. */
  readonly user: User
  /** HMAC of the password, under a key that only this process has. */
  readonly mark: Buffer
  /** Where the user came from; the oldest first. */
  readonly addresses: Set<string>
}

type Found = User | 'bad_credentials' | 'too_many' | 'gone'

/** The check of passwords. */
class Door {
  readonly #users: Users
  readonly #log: Log
  readonly #line: LoginLine
  readonly #addresses: Failures
  readonly #names: FailuresOfNames
  /** Of a user at an address where that user is known: their failures count for nobody else, and others' not for them. */
  readonly #pairs: Failures
  readonly #remembered = new Map<string, Remembered>()
  /** Where the passwords of addresses are checked that have failed before. */
  readonly #background = new BackgroundScrypt()
  readonly #key = randomBytes(32)
  readonly #dummy = dummyHash('chosen')
  readonly #stopListening: () => void
  #isClosed = false

  constructor ({ users, clock, report, config: { limits, times } }: LoginParts) {
    this.#users = users
    this.#log = report.log
    this.#line = new LoginLine({ clock, atOnce: CHECKS_AT_ONCE, perKey: limits.loginsPerAddress })
    this.#addresses = new Failures(clock, times)
    this.#names = new FailuresOfNames(clock, times)
    this.#pairs = new Failures(clock, times)
    this.#stopListening = users.onChange(({ removed, changed }) => {
      for (const name of [...removed, ...changed]) this.#remembered.delete(name)
    })
  }

  close (): void {
    this.#stopListening()
    this.#isClosed = true
    this.#line.close()
    this.#background.close()
    this.#remembered.clear()
  }

  async check (name: string, { password, address, signal }: Attempt): Promise<Found> {
    const from = addressKey(address)
    if (signal?.aborted) return 'gone'
    // No user can be called so, whoever there is, or have such a password. It waits like everybody else, or saying so at
    // once would be an invitation to try again at once.
    const isHopeless = password === null || password.length > MAX_PASSWORD_BYTES || !ID_PATTERN.test(name)
    if (isHopeless) return await this.#wait(from, signal, () => 0, async () => this.#failed(from, null))
    const mark = this.#markOf(password)
    return this.#comesBack(name, from, mark) ?? await this.#wait(from, signal, () => this.#names.untilMs(name), async () => await this.#prove(name, password, from, mark))
  }

  /** Waits in the line until it is checked, sent away, or gone. */
  async #wait (from: string, signal: AbortSignal | undefined, untilMs: () => number, prove: () => Promise<Found>): Promise<Found> {
    return await new Promise(resolve => {
      const gone = (): void => { if (this.#line.leave(waiting)) resolve('gone') }
      const done = (found: Found): void => {
        signal?.removeEventListener('abort', gone)
        resolve(found)
      }
      const waiting = {
        key: from,
        keyUntilMs: () => this.#addresses.untilMs(from),
        untilMs,
        isSuspect: () => this.#addresses.has(from),
        check: async () => done(await prove().catch((err: unknown) => {
          // No memory, most likely. It says nothing about the password.
          if (!this.#isClosed) this.#log.error({ err }, 'a password cannot be checked')
          return 'too_many' as const
        })),
        sendAway: () => done('too_many')
      }
      signal?.addEventListener('abort', gone, { once: true })
      this.#line.join(waiting)
    })
  }

  /** Counts a failure. `name` is null when it is none. */
  #failed (from: string, name: string | null): 'bad_credentials' {
    this.#addresses.count(from)
    if (name !== null) this.#names.count(name, from)
    return 'bad_credentials'
  }

  /**
   * A user who was here before, from the same address, with the same password, need not wait, whatever others do to that
   * name or from that address. This must not become a way to try passwords quickly: each wrong one counts at once.
   */
  #comesBack (name: string, from: string, mark: Buffer): User | null {
    const known = this.#known(name)
    const pair = `${name} ${from}`
    if (known === null || !known.addresses.has(from) || this.#pairs.isDelayed(pair)) return null
    if (timingSafeEqual(known.mark, mark)) return known.user
    this.#pairs.count(pair)
    return null
  }

  async #prove (name: string, password: Uint8Array, from: string, mark: Buffer): Promise<Found> {
    const known = this.#known(name)
    if (known && timingSafeEqual(known.mark, mark)) return this.#remember(known.user, from, mark)
    for (;;) {
      const user = this.#users.find(name)
      const isRight = await this.#isRight(user, password, from)
      // The users may have changed while it was computed: what was right then is not asked for.
      if (this.#users.find(name) !== user) continue
      if (isRight && user) return this.#remember(user, from, mark)
      return this.#failed(from, name)
    }
  }

  /** Every wrong password costs what one for a chosen password costs, whether there is such a user or not. */
  async #isRight (user: User | undefined, password: Uint8Array, from: string): Promise<boolean> {
    const derive = this.#addresses.has(from) ? this.#background.derive : undefined
    const hash = user?.password ?? this.#dummy
    const isRight = await verifyPassword(hash, password, derive)
    if (!isRight && isCheap(hash)) await verifyPassword(this.#dummy, password, derive)
    return isRight && hash !== this.#dummy
  }

  #known (name: string): Remembered | null {
    const known = this.#remembered.get(name)
    return known !== undefined && this.#users.find(name) === known.user ? known : null
  }

  #remember (user: User, from: string, mark: Buffer): User {
    const addresses = this.#known(user.name)?.addresses ?? new Set<string>()
    addresses.delete(from)
    addresses.add(from)
    if (addresses.size > ADDRESSES_OF_USER) addresses.delete(addresses.values().next().value ?? '')
    this.#remembered.set(user.name, { user, mark, addresses })
    return user
  }

  #markOf (password: Uint8Array): Buffer {
    return createHmac('sha256', this.#key).update(password).digest()
  }
}
