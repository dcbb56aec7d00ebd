// Stands before a broker and falls silent, as a machine does whose cable is cut: connections stay open, and nothing comes any more.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

export interface SilentProxy {
  readonly url: string
  /** From now on nothing passes in either direction, and who connects hears nothing. */
  fallSilent (): void
}

/** In front of the broker on this port, closed after the test. */
export async function startSilentProxy (port: number): Promise<SilentProxy> {
  let isSilent = false
  const server = createServer(client => {
    const broker = connect({ port, host: '127.0.0.1', noDelay: true })
    client.setNoDelay(true)
    for (const [from, to] of [[client, broker], [broker, client]] as const) {
      from.on('data', data => { if (!isSilent) to.write(data) })
      from.on('error', () => to.destroy())
      from.on('close', () => { if (!isSilent) to.destroy() })
      onTestFinished(() => { from.destroy() })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => { server.close() })
  return { url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`, fallSilent: () => { isSilent = true } }
}
