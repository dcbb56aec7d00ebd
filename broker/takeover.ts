// One client id, one client. In aedes a client that closes while it connects is registered afterwards and stays for
// ever, of two that take over at once both stay, and a client that goes takes another one's place in the list away.
import type { AedesBroker, AedesClient } from './aedes-internals.js'
import { Reason } from './reason-codes.js'

export interface OwnershipParts {
  readonly aedes: AedesBroker
  /** Whether a client may have its id, which another one may have to leave; false ends it. */
  readonly mayOwn: (client: AedesClient) => boolean
  /** A client is the one with its id now, and may be let in. */
  readonly onOwner: (client: AedesClient) => void
  /** The client whose id it was is gone. */
  readonly onGone: (client: AedesClient) => void
}

/** To be called once, before any client connects. */
export function correctOwnership ({ aedes, mayOwn, onOwner, onGone }: OwnershipParts): void {
  // aedes looks a client id up in a plain object, in which `constructor` is found without anybody being connected.
  aedes.clients = Object.assign(Object.create(null) as Record<string, AedesClient>, aedes.clients)

  const register = (client: AedesClient): void => {
    const id = client.id ?? ''
    const before = aedes.clients[id]
    // Asked at every try: another user may have got the id meanwhile.
    if (client.closed || !mayOwn(client)) return
    if (before === undefined) {
      aedes._finishRegisterClient(client)
      onOwner(client)
      return
    }
    before.disconnect({ reasonCode: Reason.sessionTakenOver }, () => {
      if (aedes.clients[id] === before) aedes.unregisterClient(before)
      register(client)
    })
  }
  aedes.registerClient = register

  const unregister = aedes.unregisterClient.bind(aedes)
  aedes.unregisterClient = client => {
    if (aedes.clients[client.id ?? ''] !== client) return
    unregister(client)
    onGone(client)
  }
  // Sessions are kept, timed and ended in sessions.ts.
  aedes.scheduleSessionExpiry = () => {}
}
