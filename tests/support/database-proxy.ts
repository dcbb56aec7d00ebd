// Stands between a node and its database, and cuts the connection around a COMMIT: nobody can tell then whether it is committed.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/**
 * `before`: the server never sees the commit. `after`: it has committed, and its answer is lost. `late`: the connection is lost
 * while the commit is still on its way, and the server gets it a while later.
 */
export type Cut = 'before' | 'after' | 'late'

const LATE_MS = 300
const BEGIN = Buffer.from('start transaction')
const COMMIT = Buffer.from('commit\0')

export class DatabaseProxy {
  readonly url: string
  /** The next commit is cut so. */
  next: Cut | null = null
  cuts = 0
  /** How often the node of the last commit spoke to the server in that transaction and waited for an answer. */
  roundTrips = 0
  /** Nobody gets through. */
  isDown = false
  readonly #sockets = new Set<Socket>()

  private constructor (url: string) {
    this.url = url
  }

  /** In front of the server of `url`, closed after the test. */
  static async start (url: string): Promise<DatabaseProxy> {
    const target = new URL(url)
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    target.port = String((server.address() as AddressInfo).port)
    const proxy = new DatabaseProxy(target.href)
    server.on('connection', client => proxy.#pass(client, Number(new URL(url).port)))
    onTestFinished(() => {
      proxy.drop()
      server.close()
    })
    return proxy
  }

  /** Ends every connection that there is now. */
  drop (): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #pass (client: Socket, port: number): void {
    if (this.isDown) {
      client.destroy()
      return
    }
    const server = connect({ port, host: '127.0.0.1', noDelay: true })
    client.setNoDelay(true)
    for (const [socket, other] of [[client, server], [server, client]] as const) {
      this.#sockets.add(socket)
      socket.on('error', () => other.destroy())
      socket.on('close', () => this.#sockets.delete(socket))
    }
    let cut: Cut | null = null
    let spoken = 0
    client.on('data', chunk => {
      spoken = chunk.includes(BEGIN) ? 1 : spoken + 1
      if (chunk.includes(COMMIT)) this.roundTrips = spoken
      if (this.next !== null && chunk.includes(COMMIT)) {
        cut = this.next
        this.next = null
        this.cuts++
      }
      if (cut === 'late') {
        client.destroy()
        setTimeout(() => server.end(chunk), LATE_MS)
      } else if (cut === 'before') {
        client.destroy()
        server.destroy()
      } else {
        server.write(chunk)
      }
    })
    server.on('data', chunk => {
      if (cut === null) {
        client.write(chunk)
        return
      }
      client.destroy()
      server.destroy()
    })
    client.on('close', () => { if (cut !== 'late') server.destroy() })
    server.on('close', () => client.destroy())
  }
}
