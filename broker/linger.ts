// Ends a connection so that the last words arrive: what is written is flushed, the other side hears the end, and what it
// still sends is read and thrown away. Destroying a socket with unread input makes the kernel send a reset, at which
// the other side may lose what it has not read yet: exactly the DISCONNECT that says why.
import type { Duplex } from 'node:stream'

/** Longest time that a connection which was told its end stays half open, in milliseconds. */
export const LINGER_MS = 1_000

/**
 * Writes `lastWords`, ends `conn`, and lets `detach` tell aedes, whose own way to close would destroy the connection at
 * once. `detach` calls back when aedes is done with it. After `LINGER_MS` at most the connection is destroyed.
 */
export function endGracefully (conn: Duplex, lastWords: Buffer | null, detach: (done: () => void) => void): void {
  conn.destroy = () => conn
  if (conn.writable) {
    if (lastWords !== null) conn.write(lastWords)
    conn.end()
  }
  detach(() => {
    // The own property goes, the real destroy is back.
    delete (conn as { destroy?: unknown }).destroy
    if (conn.readableEnded && conn.writableFinished) {
      conn.destroy()
      return
    }
    const timer = setTimeout(() => conn.destroy(), LINGER_MS)
    conn.once('close', () => clearTimeout(timer))
    // Not before aedes' listeners are gone and the stream has noticed: a stream with one of them does not flow.
    setImmediate(() => conn.resume())
  })
}
