// The process of somebody who tries passwords from one address, on many connections at once and as fast as it is let.
// Started by the scenario `logins`.
import { answer } from './child.js'
import type { LoginFloodRequests, Tried } from './logins.js'
import { logIn } from './raw-client.js'

/** A try that hears nothing ends after this, in milliseconds; it is not counted as answered. */
const PATIENCE_MS = 20_000

let tried: Tried = { tries: 0, refused: 0, letIn: 0 }
let isOver = false

answer<LoginFloodRequests>({
  begin: ({ ports, connections, user }) => {
    tried = { tries: 0, refused: 0, letIn: 0 }
    isOver = false
    const tryOn = async (connection: number): Promise<void> => {
      while (!isOver) {
        const number = ++tried.tries
        const { code } = await logIn(ports, { clientId: `bench-guess-${connection}`, credentials: { user, password: `wrong ${number}` }, patienceMs: PATIENCE_MS }).catch(() => ({ code: null }))
        if (code === 0) tried.letIn++
        else if (code !== null) tried.refused++
      }
    }
    for (let connection = 0; connection < connections; connection++) void tryOn(connection)
  },
  end: () => {
    isOver = true
    return tried
  },
  tried: () => tried
})
