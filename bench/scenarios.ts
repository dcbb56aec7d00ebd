// What can be measured: each scenario by its name on the command line.
import { access } from './access.js'
import { baseline, mixed } from './baseline.js'
import { builds } from './builds.js'
import { burst } from './burst.js'
import { cameras } from './cameras.js'
import { cluster } from './cluster.js'
import { durable } from './durable.js'
import { fanOut } from './fan-out.js'
import { flood } from './flood.js'
import { frozen } from './frozen.js'
import { greedy } from './greedy.js'
import { ingest } from './ingest.js'
import { logins } from './logins.js'
import type { OptionName, Options } from './options.js'
import { requests } from './requests.js'
import { reservations } from './reservations.js'
import { restart } from './restarting.js'
import type { ScenarioResult } from './results.js'
import { scale } from './scale.js'
import { slow } from './slow-subscribers.js'
import { slowDisk } from './slow-disk.js'
import { soak } from './soak.js'
import { starting } from './starting.js'
import { stress } from './stress.js'

export interface Scenario {
  /** Scenarios that say what they measured as data as well return it. */
  readonly run: (options: Options) => Promise<ScenarioResult | void>
  readonly help: string
  /** How long it takes with its defaults. */
  readonly takes: string
  readonly options: readonly OptionName[]
  /** The option without which there is nothing to measure. */
  readonly needs?: OptionName
}

const REQUEST_OPTIONS = ['rounds', 'seconds', 'clients', 'systems', 'rate', 'lots', 'ids', 'seed'] as const

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  ingest: { run: ingest, help: 'sensor messages committed before PUBACK, beside brokers that merely forward them and a hand-written service', takes: '1 min', options: ['rounds', 'publishers', 'window', 'messages', 'systems', 'tls'] },
  requests: { run: requests, help: 'reserve and cancel, one client, one at a time', takes: '10 s', options: [] },
  reservations: { run: reservations, help: 'a lot with 100,000 bookings to come: availability of a week, a page of a list, and book from 16 clients', takes: '30 s', options: [] },
  start: { run: starting, help: 'time to ready and memory with 4 and with 10,000 lots', takes: '10 s', options: [] },
  restart: { run: restart, help: 'time to ready after kill -9 by lots, by reservations in the history and by reservations to come', takes: '4 min', options: ['rounds', 'lots', 'reservations'] },
  scale: { run: scale, help: 'what a sensor message, a lot and a connection cost, up to 100,000 lots, 1,000,000 sensors and 5,000 connections', takes: '3 min', options: ['rounds', 'lots', 'messages', 'connections', 'seed'] },
  soak: { run: soak, help: 'sensors, displays and clients that come and go, for --minutes: memory and lag over time', takes: '2 min', options: ['minutes', 'seconds', 'lots', 'clients', 'rate', 'ids', 'seed'] },
  baseline: { run: baseline, help: 'availability, and reserve and cancel, for 1 to 64 clients: parkmq, bare echoes, a hand-written service', takes: '6 min', options: REQUEST_OPTIONS },
  mixed: { run: mixed, help: 'the same with 80 reads to 20 writes, among them book, change and cancel', takes: '2 min', options: REQUEST_OPTIONS },
  stress: { run: stress, help: 'the requests of baseline beside sensors at 10/s a lot, 1,000/s and 10,000/s, and how late displays hear of them', takes: '3 min', options: ['rounds', 'seconds', 'clients', 'lots', 'ids', 'seed'] },
  builds: { run: builds, help: 'this build and the one in --against DIR in turn: requests without sensors and beside 1,000/s, and how late displays hear of them', takes: '3 min', options: ['against', 'rounds', 'seconds', 'clients', 'lots', 'ids', 'seed'], needs: 'against' },
  'fan-out': { run: fanOut, help: 'deliveries to 50 subscribers: parkmq, stock aedes, mosquitto', takes: '4 min', options: ['rounds', 'messages', 'subscribers', 'qos', 'mqtt', 'brokers'] },
  slow: { run: slow, help: 'a frozen and a never-acknowledging subscriber beside 50 healthy ones', takes: '7 min', options: ['seconds', 'minutes', 'subscribers', 'qos', 'mqtt', 'transport', 'session', 'brokers'] },
  'slow-disk': { run: slowDisk, help: 'round trips of clients that need no disk, and reservations, beside sensors on disks that sync slowly (needs strace)', takes: '2 min', options: ['rounds', 'seconds', 'against', 'seed'] },
  frozen: { run: frozen, help: 'how late 50 healthy subscribers get their messages beside 0, 1 and 10 that never read', takes: '3 min', options: ['rounds', 'seconds', 'subscribers', 'brokers'] },
  burst: { run: burst, help: '20,000 messages as fast as the sockets take them, to 1 and to 50 healthy subscribers', takes: '5 min', options: ['messages', 'subscribers', 'qos', 'mqtt', 'brokers'] },
  cameras: { run: cameras, help: 'from a camera\'s frame to `free`, and what 20 frames a second do to sensors and reservations', takes: '2 min', options: ['rounds', 'seconds', 'seed'] },
  flood: { run: flood, help: 'what a flooding client does to the round trips of ten others', takes: '2 min', options: ['seconds', 'brokers'] },
  greedy: { run: greedy, help: 'what a client that keeps hundreds of long requests under way does to everybody else', takes: '30 s', options: ['seconds'] },
  durable: { run: durable, help: 'messages to a persistent session, connected and offline, kept on disk by parkmq and mosquitto', takes: '2 min', options: ['rounds', 'messages', 'mqtt', 'brokers'] },
  access: { run: access, help: 'what users, access control and TLS cost at ingest, each alone and together, and at fan-out', takes: '2 min', options: ['rounds', 'subscribers'] },
  logins: { run: logins, help: 'what somebody who tries passwords does to the log-ins and round trips of others, and how long a fleet takes to log in', takes: '3 min', options: ['rounds', 'seconds'] },
  cluster: { run: cluster, help: 'gaps in acknowledgements when nodes, PostgreSQL, Patroni or etcd are killed or stopped (needs Debian\'s postgresql, patroni, etcd-server)', takes: '5 min', options: ['rounds', 'faults'] }
}
/** Without a name: what the first part of docs/performance.md says. */
export const DEFAULT_SCENARIOS = ['ingest', 'requests', 'start']
