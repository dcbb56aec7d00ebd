// `parkmq start`: broker and services in one process, until Ctrl-C.
import { Command } from 'commander'
import { checkExposure } from '../broker/exposure.js'
import { loadConfig, urlOf } from '../shared/config.js'
import { shownUrl } from '../shared/broker-urls.js'
import { createLog, type LogLevel } from '../shared/log.js'
import { startApp } from './app.js'
import { keepHeapSmall } from './heap.js'
import { untilSignal } from './until-signal.js'
import { version } from './version.js'

interface StartOptions {
  host?: string
  port?: string
  wsPort?: string
  httpPort?: string
  data?: string
  database?: string
  config?: string
  users?: string
  allowAnonymous?: boolean
  tlsCert?: string
  tlsKey?: string
  tlsCa?: string
  broker?: string
  brokerPrefix?: string
  brokerCa?: string
  brokerCert?: string
  brokerKey?: string
  cameras?: string
  cameraWorkers?: string
  node?: string
  advertise?: string
  logLevel?: LogLevel
}

export function startCommand (): Command {
  return new Command('start')
    .description('run the broker and the services in this process')
    .option('--host <address>', 'address to listen on (PARKMQ_HOST; default 127.0.0.1)')
    .option('--port <port>', 'MQTT over TCP (PARKMQ_PORT; default 1883, with TLS 8883; 0: any free one)')
    .option('--ws-port <port>', 'MQTT over WebSocket (PARKMQ_WS_PORT; default 9001, with TLS 9443; 0: any free one)')
    .option('--http-port <port>', 'serve /health and /metrics here (PARKMQ_HTTP_PORT; default: off)')
    .option('--data <folder>', 'folder of the ledger (PARKMQ_DATA; default ./data)')
    .option('--database <url>', 'keep the ledger in this PostgreSQL database, which several nodes may share (PARKMQ_DATABASE), such as postgres://parkmq@host1,host2/parkmq')
    .option('--config <file>', 'settings in YAML or JSON (PARKMQ_CONFIG)')
    .option('--users <file>', 'who may log in, made with `parkmq user` (PARKMQ_USERS; default users.yaml in the data folder if that is there)')
    .option('--allow-anonymous', 'let in whoever gives no user name: as a display where there are users, else with every right (PARKMQ_ALLOW_ANONYMOUS)')
    .option('--tls-cert <file>', 'speak TLS with this certificate, on ports 8883 and 9443 unless others are given (PARKMQ_TLS_CERT)')
    .option('--tls-key <file>', 'its private key (PARKMQ_TLS_KEY)')
    .option('--tls-ca <file>', 'know clients by certificates that this authority signed (PARKMQ_TLS_CA)')
    .option('--broker <url>', 'use this MQTT 5 broker instead of the embedded one (PARKMQ_BROKER); with --database, several processes may')
    .option('--broker-prefix <name>', 'what client ids at --broker begin with (PARKMQ_BROKER_PREFIX; default parkmq); with --database, processes with the same one share the lots')
    .option('--broker-ca <file>', 'trust this authority for --broker mqtts:// (PARKMQ_CA)')
    .option('--broker-cert <file>', 'show this certificate to --broker (PARKMQ_CERT)')
    .option('--broker-key <file>', 'its private key (PARKMQ_KEY)')
    .option('--cameras <folder>', 'look at the frames of the cameras whose configurations are in this folder (PARKMQ_CAMERAS)')
    .option('--camera-workers <n>', 'processes that look at frames (PARKMQ_CAMERA_WORKERS; default 1)')
    .option('--node <name>', 'name of this process in services/+/{node}/status, and among the nodes of --database (PARKMQ_NODE; default node-1)')
    .option('--advertise <urls>', 'how clients reach this node, for `cluster/nodes` of all nodes (PARKMQ_ADVERTISE; default: the listeners\'), such as mqtt://north.example:1883')
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace or silent (PARKMQ_LOG_LEVEL; default info)')
    .addHelpText('after', '\nWithout a config file there are four lots: LOT-A 100, LOT-B 150, LOT-C 80, LOT-D 200 places.\nFlags win over PARKMQ_* variables, those over the config file. `parkmq doctor` prints the result.')
    .action(async (options: StartOptions) => {
      const { config: file, tlsCert, tlsKey, tlsCa, brokerCa, brokerCert, brokerKey, ...others } = options
      const { config } = loadConfig({
        file,
        flags: { ...others, 'tls.cert': tlsCert, 'tls.key': tlsKey, 'tls.ca': tlsCa, 'brokerTls.ca': brokerCa, 'brokerTls.cert': brokerCert, 'brokerTls.key': brokerKey }
      })
      const tls = config.tls !== undefined
      // Before anything is opened.
      const exposed = checkExposure(config)
      const log = createLog(config.logLevel, process.stdout.isTTY)
      if (exposed !== null) log.warn(exposed)
      const startedMs = performance.now()
      const app = await startApp({ config, log })
      const lots = (await app.ledger.lotIds()).length
      keepHeapSmall(lots)
      // Before it says that it is ready: whoever reads that may end it at once.
      const ended = untilSignal(signal => {
        log.info({ signal }, 'stopping')
        return app.stop()
      })
      log.info({
        version, lots, data: config.data, ...(config.database !== undefined && { database: shownUrl(config.database), node: config.node }), tookMs: Math.round(performance.now() - startedMs),
        ...(app.port === null ? { broker: shownUrl(config.broker ?? '') } : { mqtt: urlOf(tls ? 'mqtts' : 'mqtt', config.host, app.port), ws: urlOf(tls ? 'wss' : 'ws', config.host, app.wsPort) }),
        ...(app.httpPort !== null && { http: urlOf('http', config.host, app.httpPort) })
      }, 'ready')
      await ended
      log.info('stopped')
    })
}
