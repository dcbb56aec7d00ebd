// Sessions as MQTT defines them, where aedes does otherwise. Each correction says what goes wrong without it.
import type { AedesBroker, AedesClient } from './aedes-internals.js'
import type { Qos2Receiver } from './qos2.js'
import { Reason } from './reason-codes.js'

export interface SessionParts {
  readonly aedes: AedesBroker
  readonly received: Qos2Receiver
  /** Told when a session's stored subscriptions are gone. */
  readonly onSubscriptionsGone: () => void
}

/** To be called once, before any client connects. */
export function correctSessions ({ aedes, received, onSubscriptionsGone }: SessionParts): void {
  // aedes looks a client id up in a plain object, in which `constructor` is found without anybody being connected.
  aedes.clients = Object.assign(Object.create(null) as Record<string, AedesClient>, aedes.clients)

  const wipe = aedes._wipeSession.bind(aedes)
  aedes._wipeSession = client => {
    wipe(client)
    if (client.id !== null) received.forget(client.id)
    onSubscriptionsGone()
  }
  correctOwnership(aedes, received)
}

/**
 * One client id, one client. In aedes a client that closes while it connects is registered afterwards and stays for
 * ever, of two that take over at once both stay, and a client that goes takes another one's place in the list away.
 */
function correctOwnership (aedes: AedesBroker, received: Qos2Receiver): void {
  /** Clients whose session was theirs when they went: only they decide what becomes of it. */
  const owners = new WeakSet<AedesClient>()

  const register = (client: AedesClient, tookOver: boolean): void => {
    const id = client.id ?? ''
    const before = aedes.clients[id]
    if (before !== undefined && !client.closed) {
      aedes._takingOver.add(id)
      before.disconnect({ reasonCode: Reason.sessionTakenOver }, () => {
        if (aedes.clients[id] === before) aedes.unregisterClient(before)
        register(client, true)
      })
    } else if (!client.closed) {
      aedes._finishRegisterClient(client)
    } else if (before === undefined) {
      dropUnregistered(client, id, tookOver)
    }
  }
  aedes.registerClient = client => register(client, false)

  /** A client that is gone before it was there: the session that it took over goes on as if it had been. */
  const dropUnregistered = (client: AedesClient, id: string, tookOver: boolean): void => {
    aedes._takingOver.delete(id)
    aedes.persistence.delWill({ id, brokerId: aedes.id }).catch((error: unknown) => aedes.emit('error', error))
    if (!tookOver) return
    owners.add(client)
    aedes.scheduleSessionExpiry(client)
  }

  const unregister = aedes.unregisterClient.bind(aedes)
  aedes.unregisterClient = client => {
    if (aedes.clients[client.id ?? ''] !== client) return
    owners.add(client)
    unregister(client)
  }

  // Before MQTT 5.0 aedes keeps a session with Clean Session 0 for ever and counts it towards no limit. Here it expires
  // and counts like one of MQTT 5.0 with the longest expiry that is allowed.
  const schedule = aedes.scheduleSessionExpiry.bind(aedes)
  aedes.scheduleSessionExpiry = client => {
    if (!owners.has(client)) return
    if (client.version === 5) schedule(client)
    else if (!client.clean) schedule(Object.create(client, { version: { value: 5 } }) as AedesClient)
    else if (client.id !== null) received.forget(client.id)
  }
}

/** Prepares a client's session between CONNECT and CONNACK: aedes' `authenticate` hook calls it. */
export function beginSession (client: AedesClient, received: Qos2Receiver): void {
  if (client._cleanStart) {
    if (client.id !== null) received.forget(client.id)
  } else if (client.version === 5) {
    // Clean Start 0 resumes what is stored, also when this connection asks for no expiry; aedes would drop the queue.
    // The session is wiped at its end, because its expiry stays 0.
    client.clean = false
  }
}
