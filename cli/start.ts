// `parkmq start`: broker and services in one process, until Ctrl-C.
import { Command } from 'commander'
import { loadConfig, urlOf } from '../shared/config.js'
import { shownUrl } from '../shared/mqtt-client.js'
import { createLog, type LogLevel } from '../shared/log.js'
import { startApp } from './app.js'
import { version } from './version.js'

interface StartOptions {
  host?: string
  port?: string
  wsPort?: string
  httpPort?: string
  data?: string
  config?: string
  broker?: string
  node?: string
  logLevel?: LogLevel
}

export function startCommand (): Command {
  return new Command('start')
    .description('run the broker and the services in this process')
    .option('--host <address>', 'address to listen on (PARKMQ_HOST; default 127.0.0.1)')
    .option('--port <port>', 'MQTT over TCP (PARKMQ_PORT; default 1883; 0: any free one)')
    .option('--ws-port <port>', 'MQTT over WebSocket (PARKMQ_WS_PORT; default 9001; 0: any free one)')
    .option('--http-port <port>', 'serve /health and /metrics here (PARKMQ_HTTP_PORT; default: off)')
    .option('--data <folder>', 'folder of the ledger (PARKMQ_DATA; default ./data)')
    .option('--config <file>', 'settings in YAML or JSON (PARKMQ_CONFIG)')
    .option('--broker <url>', 'use this MQTT 5 broker instead of the embedded one (PARKMQ_BROKER)')
    .option('--node <name>', 'name of this process in services/+/{node}/status (PARKMQ_NODE; default node-1)')
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace or silent (PARKMQ_LOG_LEVEL; default info)')
    .addHelpText('after', '\nWithout a config file there are four lots: LOT-A 100, LOT-B 150, LOT-C 80, LOT-D 200 places.\nFlags win over PARKMQ_* variables, those over the config file. `parkmq doctor` prints the result.')
    .action(async (options: StartOptions) => {
      const { config: file, ...flags } = options
      const { config } = loadConfig({ file, flags })
      const log = createLog(config.logLevel, process.stdout.isTTY)
      const startedMs = performance.now()
      const app = await startApp({ config, log })
      const lots = (await app.ledger.allLots()).length
      log.info({
        version, lots, data: config.data, tookMs: Math.round(performance.now() - startedMs),
        ...(app.port === null ? { broker: shownUrl(config.broker ?? '') } : { mqtt: urlOf('mqtt', config.host, app.port), ws: urlOf('ws', config.host, app.wsPort) }),
        ...(app.httpPort !== null && { http: urlOf('http', config.host, app.httpPort) })
      }, 'ready')
      await untilSignal(signal => {
        log.info({ signal }, 'stopping')
        return app.stop()
      })
      log.info('stopped')
    })
}

/** Waits for Ctrl-C or SIGTERM, then for `stop`. A second signal ends the process at once. */
async function untilSignal (stop: (signal: string) => Promise<void>): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    let stopping = false
    const onSignal = (signal: NodeJS.Signals): void => {
      if (stopping) process.exit(1)
      stopping = true
      stop(signal).then(resolve, reject)
    }
    process.on('SIGINT', onSignal)
    process.on('SIGTERM', onSignal)
  })
  process.removeAllListeners('SIGINT')
  process.removeAllListeners('SIGTERM')
}
