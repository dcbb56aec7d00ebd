// /health and /metrics for whoever watches the process. Off unless --http-port is given.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { messageOf, OperatorError } from '../shared/errors.js'
import type { Log } from '../shared/log.js'
import type { Metrics } from '../shared/metrics.js'

export interface HttpParts {
  readonly port: number
  readonly host: string
  /** Throws why the process cannot do its work now. */
  readonly check: () => Promise<void>
  readonly metrics: Metrics
  readonly log: Log
}

/**
 * `GET /health`: 200 `{"status":"ok"}`, or 503 with the reason when `check` throws, such as for a ledger that cannot be written.
 * `GET /metrics`: Prometheus text.
 */
export async function startHttp ({ port, host, check, metrics, log }: HttpParts): Promise<{ port: number, stop: () => Promise<void> }> {
  const answer = async (path: string): Promise<{ status: number, type: string, body: string }> => {
    if (path === '/metrics') return { status: 200, type: metrics.registry.contentType, body: await metrics.registry.metrics() }
    if (path !== '/health') return { status: 404, type: 'text/plain', body: 'not found: there are /health and /metrics\n' }
    try {
      await check()
      return { status: 200, type: 'application/json', body: '{"status":"ok"}\n' }
    } catch (error) {
      return { status: 503, type: 'application/json', body: `${JSON.stringify({ status: 'unavailable', why: messageOf(error) })}\n` }
    }
  }
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000, maxHeaderSize: 8_192 }, (request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end()
      return
    }
    answer((request.url ?? '/').split('?', 1)[0] ?? '/').then(({ status, type, body }) => {
      response.writeHead(status, { 'content-type': type }).end(request.method === 'HEAD' ? undefined : body)
    }, (err: unknown) => {
      log.error({ err }, 'a health or metrics request failed')
      response.writeHead(500).end()
    })
  })
  server.maxConnections = 50
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(error.code === 'EADDRINUSE'
      ? new OperatorError('port_in_use', `the HTTP port ${port} on ${host} is in use; choose another with --http-port`, { cause: error })
      : error))
    server.listen(port, host, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    stop: async () => {
      server.closeAllConnections()
      await new Promise<void>(resolve => server.close(() => resolve()))
    }
  }
}
