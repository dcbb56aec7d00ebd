// What the broker and the services tell of who came in and who was refused: the port to the audit. It never carries a
// password, a secret, a plate or a payload.

/**
 * `login.accepted` and `login.refused`: an answer to a log-in. `access.denied`: somebody asked for what is not for them,
 * by PUBLISH, SUBSCRIBE, a will, a client id or a request.
 */
export type AccessType = 'login.accepted' | 'login.refused' | 'access.denied'

export interface AccessEvent {
  readonly type: AccessType
  /** The user, or the name that was tried; null where there is none. */
  readonly user: string | null
  /** As the client made it. */
  readonly clientId: string | null
  /** Where it came from; null where that is not known any more. */
  readonly address: string | null
  /** How the log-in was answered, or what was asked for, in few words. It may quote a topic, as the client made it. */
  readonly why: string
}

/** Is told of every one, in the turn in which it happens: it must return at once and never throw. */
export type OnAccess = (event: AccessEvent) => void
