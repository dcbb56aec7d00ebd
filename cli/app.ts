// The whole of parkmq in one process, put together in the order that the guarantees need: ledger, lots of the settings,
// broker without listeners, services (which publish everything retained), and only then the listeners.
import { hostname } from 'node:os'
import { createEmbeddedBroker, type EmbeddedBroker } from '../broker/index.js'
import { usersFileOf } from '../broker/users-file.js'
import { openUsers, type Users } from '../broker/users.js'
import { readCameras } from '../services/camera/cameras.js'
import { startCameras } from '../services/camera/service.js'
import { startOccupancy } from '../services/occupancy/service.js'
import { lotDefaultsOf } from '../services/reservation/intake.js'
import { seedLots } from '../services/reservation/lots.js'
import type { Experiment } from '../services/reservation/experiment.js'
import { startReservation } from '../services/reservation/service.js'
import type { OnAccess } from '../shared/access-event.js'
import { BatchStart } from '../shared/batch-start.js'
import type { Bus } from '../shared/bus.js'
import { systemClock, type Clock } from '../shared/clock.js'
import { urlOf, type Config } from '../shared/config.js'
import type { Log } from '../shared/log.js'
import { createMetrics, type Metrics } from '../shared/metrics.js'
import type { MqttBus } from '../shared/mqtt-bus.js'
import { readClientTls } from '../shared/mqtt-tls.js'
import { topics } from '../shared/topics.js'
import { createAccessAudit } from '../storage/access-audit.js'
import { MeasuredPace } from '../storage/commit-pace.js'
import { openBrokerStore } from '../storage/broker-store.js'
import { openLedger } from '../storage/open.js'
import type { Ledger } from '../storage/ledger.js'
import { startHttp } from './http.js'
import { startLeased, type LeasedParts } from './leases/start.js'
import { keepDoors } from './node-doors.js'
import { version } from './version.js'

export interface AppParts {
  readonly config: Config
  readonly log: Log
  readonly clock?: Clock
  readonly metrics?: Metrics
  /** Of `parkmq experiment` alone. */
  readonly experiment?: Experiment
  /** The compiled program of the processes that look at frames, where this is not compiled itself. */
  readonly cameraWorker?: URL
}

export interface App {
  readonly ledger: Ledger
  readonly metrics: Metrics
  /** The port of MQTT over TCP; null with an external broker. */
  readonly port: number | null
  readonly wsPort: number | null
  readonly httpPort: number | null
  /** Finishes what was accepted, says goodbye, closes the ledger. Safe to call twice. */
  stop (): Promise<void>
}

/** Something that was started and must be stopped, in reverse order. */
type Stop = () => Promise<void>

/** Starts everything. When it resolves, clients are let in. On an error, what was started is stopped again. */
export async function startApp ({ config, log, clock: ownClock = systemClock, metrics = createMetrics(), experiment, cameraWorker }: AppParts): Promise<App> {
  const stops: Stop[] = []
  let stopping: Promise<void> | null = null
  const stop = async (): Promise<void> => await (stopping ??= stopAll(stops, log))
  try {
    // A wrong one is told before anything is opened.
    const cameras = config.cameras === undefined ? null : await readCameras(config.cameras)
    const pace = new MeasuredPace()
    const batchStart = new BatchStart(() => pace.isSlow)
    const ledger = await openLedger({ config, clock: ownClock, metrics, log, batchStart, pace })
    stops.push(() => ledger.close())
    // The time on which all nodes of a database agree.
    const { clock } = ledger
    await seedLots(ledger, config.lots, lotDefaultsOf(config))
    const audit = createAccessAudit({ ledger, clock, log, metrics })
    const onAccess = audit.note
    stops.push(() => audit.stop())
    const broker = await openBroker({ config, clock, log, metrics, onAccess, batchStart })
    stops.push(() => broker.close())
    const shared = { ledger, clock, log, metrics, config }
    const { openLeases } = ledger
    if (broker.external !== null && openLeases !== null) {
      const leased = await startLeased({ ...shared, ...broker.external, openLeases, version, onAccess, experiment })
      stops.push(() => leased.stop())
    } else {
      const occupancy = await startOccupancy({ ...shared, bus: await broker.busOf('occupancy') })
      stops.push(() => occupancy.stop())
      if (ledger.nodes !== null && broker.embedded !== null) {
        const stopKeeping = await keepDoors({ nodes: ledger.nodes, broker: broker.embedded, occupancy, log })
        stops.push(async () => stopKeeping())
      }
      const reservation = await startReservation({ ...shared, version, bus: await broker.busOf('reservation'), onAccess, otherMethods: broker.methods, experiment })
      stops.push(() => reservation.stop())
    }
    if (cameras !== null) {
      const looking = await startCameras({ clock, log, metrics, config, cameras, bus: await broker.busOf('camera'), worker: cameraWorker })
      stops.push(() => looking.stop())
    }
    const http = config.httpPort === undefined ? null : await startHttp({ port: config.httpPort, host: config.host, check: async () => { await ledger.check() }, metrics, log })
    if (http) stops.push(http.stop)
    const ports = await broker.listen()
    if (ports !== null) ledger.nodes?.advertise(config.advertise ?? urlsOf(config, ports))
    return { ledger, metrics, port: ports?.port ?? null, wsPort: ports?.wsPort ?? null, httpPort: http?.port ?? null, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** How clients on other machines reach these listeners: every address of a machine is none that they could use. */
function urlsOf ({ host, tls }: Config, { port, wsPort }: { port: number, wsPort: number }): string[] {
  const reached = host === '0.0.0.0' || host === '::' ? hostname() : host
  return [urlOf(tls ? 'mqtts' : 'mqtt', reached, port), urlOf(tls ? 'wss' : 'ws', reached, wsPort)]
}

interface Broker {
  /** Null where the broker is not ours. */
  readonly embedded: EmbeddedBroker | null
  /** Where it is, if it is not ours; otherwise null. */
  readonly external: Pick<LeasedParts, 'url' | 'tls' | 'statusOf'> | null
  /** Requests that it answers itself. */
  readonly methods: readonly string[]
  busOf (service: string): Promise<Bus>
  /** Lets clients in; null where the broker is not ours. */
  listen (): Promise<{ port: number, wsPort: number } | null>
  close (): Promise<void>
}

interface OpenBrokerParts {
  readonly config: Config
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly onAccess: OnAccess
  readonly batchStart: BatchStart
}

async function openBroker ({ config, clock, log, metrics, onAccess, batchStart }: OpenBrokerParts): Promise<Broker> {
  const { broker: url, node } = config
  if (url === undefined) {
    const file = usersFileOf(config)
    const store = await openBrokerStore(config.data, { metrics })
    let users: Users | null = null
    const closeOthers = async (): Promise<void> => {
      await users?.close()
      await store.close()
    }
    try {
      if (file !== null) users = await openUsers({ file, clock, log, metrics })
      const broker = await createEmbeddedBroker({ config, clock, log, metrics, store, users, version, onAccess, batchStart })
      return {
        embedded: broker,
        external: null,
        methods: broker.methods,
        busOf: async () => broker.bus,
        listen: () => broker.listen(),
        close: async () => {
          await broker.close()
          await closeOthers()
        }
      }
    } catch (error) {
      await closeOthers()
      throw error
    }
  }
  // MQTT.js is loaded for another broker only.
  const { connectMqttBus } = await import('../shared/mqtt-bus.js')
  const tls = await readClientTls(config.brokerTls ?? {})
  const opened: MqttBus[] = []
  // A connection of its own for each service, so that the broker tells of each when it dies.
  const statusOf = async (service: string): Promise<MqttBus> => {
    const will = { topic: topics.serviceStatus(service, node), payload: 'offline', qos: 1, retain: true } as const
    const bus = await connectMqttBus({ url, tls, clientId: `${config.brokerPrefix}-${node}-${service}`, clock, log, metrics, will })
    opened.push(bus)
    return bus
  }
  return {
    embedded: null,
    external: { url, tls, statusOf },
    methods: [],
    busOf: async service => (await statusOf(service)).bus,
    listen: async () => null,
    close: async () => { await Promise.all(opened.map(bus => bus.close())) }
  }
}

async function stopAll (stops: readonly Stop[], log: Log): Promise<void> {
  for (const stop of [...stops].reverse()) {
    await stop().catch((err: unknown) => log.error({ err }, 'a part did not stop cleanly'))
  }
}
