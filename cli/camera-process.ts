// `camera process`: a processor of camera frames as a process of its own, beside a parkmq or any MQTT 5 broker. Several share
// the work; one that dies leaves what it has not acknowledged to the others.
import { Command, Option } from 'commander'
import { readCameras } from '../services/camera/cameras.js'
import { startCameras } from '../services/camera/service.js'
import { systemClock } from '../shared/clock.js'
import { defaultUrl, loadConfig, urlOf } from '../shared/config.js'
import { createLog, type LogLevel } from '../shared/log.js'
import { counterValues, createMetrics } from '../shared/metrics.js'
import { connectMqttBus } from '../shared/mqtt-bus.js'
import { BrokerUrls, shownUrl } from '../shared/broker-urls.js'
import { topics } from '../shared/topics.js'
import { loginOf, UsageError, withLogin, type LoginOptions } from './client.js'
import { startHttp } from './http.js'
import { untilSignal } from './until-signal.js'
import { version } from './version.js'

interface ProcessOptions extends LoginOptions {
  url: string
  cameras?: string
  workers?: string
  node?: string
  httpPort?: string
  config?: string
  logLevel?: LogLevel
}

/** Frames that the broker hands over before they are acknowledged, at least and at most, and for each camera. */
const [LEAST_INFLIGHT, MOST_INFLIGHT, INFLIGHT_PER_CAMERA] = [8, 64, 2]
/** How long the broker keeps for a processor what that has not acknowledged: frames are soon worth nothing. */
const SESSION_SECONDS = 3_600

export function cameraProcessCommand (): Command {
  return withLogin(new Command('process')
    .description('look at the frames of cameras in this process, and say at the broker which bays are taken')
    .addOption(new Option('--url <url>', 'the broker, mqtt://, mqtts://, ws:// or wss:// (PARKMQ_URL)').default(defaultUrl())))
    .option('--cameras <folder>', 'the cameras\' configurations, as `parkmq camera calibrate` writes them (PARKMQ_CAMERAS)')
    .option('--workers <n>', 'processes that look at frames (PARKMQ_CAMERA_WORKERS; default 1)')
    .option('--node <name>', 'name of this processor, which no other has (PARKMQ_NODE; default node-1)')
    .option('--http-port <port>', 'serve /health and /metrics on 127.0.0.1 (PARKMQ_HTTP_PORT; default: off)')
    .option('--config <file>', 'settings in YAML or JSON, of which limits.frameBytes and framePixels are used here (PARKMQ_CONFIG)')
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace or silent (PARKMQ_LOG_LEVEL; default info)')
    .addHelpText('after', `
Processors with other --node names on the same broker take turns at the frames of all cameras: give all of them the same configurations. A parkmq
that was started with --cameras takes every frame itself: start it without. With users, a processor logs in as one of the role service.`)
    .action(run)
}

async function run (options: ProcessOptions): Promise<void> {
  const { config } = loadConfig({ file: options.config, flags: { cameras: options.cameras, cameraWorkers: options.workers, node: options.node, httpPort: options.httpPort, logLevel: options.logLevel } })
  if (config.cameras === undefined) throw new UsageError('no cameras: name the folder of their configurations with --cameras')
  const cameras = await readCameras(config.cameras)
  const log = createLog(config.logLevel, process.stdout.isTTY)
  const metrics = createMetrics()
  if (new BrokerUrls(options.url).given.length > 1) throw new UsageError(`--url ${shownUrl(options.url)}: a processor sees the frames of one broker; start one at each node, with its own --node`)
  const { tls, username, password } = await loginOf(options.url, options)
  const bus = await connectMqttBus({
    url: withUser(options.url, username, password), ...tls && { tls }, clientId: `parkmq-${config.node}-camera`, clock: systemClock, log, metrics,
    maxInflight: Math.min(MOST_INFLIGHT, Math.max(LEAST_INFLIGHT, cameras.length * INFLIGHT_PER_CAMERA)), sessionExpirySeconds: SESSION_SECONDS,
    will: { topic: topics.serviceStatus('camera', config.node), payload: 'offline', qos: 1, retain: true }
  })
  try {
    const looking = await startCameras({ bus: bus.bus, clock: systemClock, log, metrics, cameras, config })
    const http = config.httpPort === undefined ? null : await startHttp({ port: config.httpPort, host: '127.0.0.1', check: async () => {}, metrics, log })
    // Before it says that it is ready: whoever reads that may end it at once.
    const ended = untilSignal(async signal => {
      log.info({ signal }, 'stopping')
      await looking.stop()
      await http?.stop()
    })
    log.info({ version, cameras: cameras.map(({ camera }) => camera), broker: shownUrl(options.url), ...http && { http: urlOf('http', '127.0.0.1', http.port) } }, 'ready')
    await ended
  } finally {
    await bus.close()
  }
  const counts = Object.entries(await counterValues(metrics)).filter(([name]) => name.startsWith('parkmq_camera_'))
  log.info(Object.fromEntries(counts), 'stopped')
}

function withUser (url: string, username: string | undefined, password: string | undefined): string {
  const parsed = new URL(url)
  if (parsed.username !== '' || username === undefined) return url
  parsed.username = encodeURIComponent(username)
  parsed.password = encodeURIComponent(password ?? '')
  return parsed.href
}
