// A peer: the parking service that one would write by hand in an afternoon, behind mosquitto: MQTT.js, and one SQLite
// transaction for each message. It has what is compared and no more: no expiry, no windows, no repeat of requests,
// no audit. Arguments: port of the broker, data folder, `after-commit` or `auto`, and `lot:capacity` each.
//
// `after-commit` acknowledges a message when its transaction is on disk, through `handleMessage`, as MQTT.js offers it:
// nothing acknowledged is lost. `auto` leaves the acknowledging to MQTT.js, which does it when the handlers of `message`
// have returned; they are asynchronous here, as most are, so what is acknowledged and not yet committed is lost in a crash.
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import Driver from 'libsql'
import type { IPublishPacket } from 'mqtt'
import { connectMqtt, endMqtt } from '../shared/mqtt-client.js'
import { PRAGMAS } from '../storage/sqlite-file.js'

interface LotRow { readonly capacity: number, readonly counted: number, readonly held: number }
interface SensorMessage { readonly sensor: string, readonly epoch: number, readonly seq: number, readonly delta: number }
interface Reply { readonly ok: boolean, readonly [key: string]: unknown }

const [port = '', folder = '', acks = '', ...lots] = process.argv.slice(2)
const HOLD_MS = 300_000

const db = new Driver(join(folder, 'plain.db'))
for (const pragma of PRAGMAS) db.pragma(pragma)
db.exec(`
  create table lots (lot text primary key, capacity integer not null, counted integer not null default 0, held integer not null default 0) without rowid;
  create table sensors (lot text not null, sensor text not null, epoch integer not null, seq integer not null, primary key (lot, sensor)) without rowid;
  create table reservations (id text primary key, lot text not null, plate text not null, secret_hash text not null, status text not null, until_ms integer not null) without rowid;`)
const addLot = db.prepare('insert into lots (lot, capacity) values (?, ?)')
for (const lot of lots) addLot.run(...lot.split(':'))

const lotOf = db.prepare('select capacity, counted, held from lots where lot = ?')
const seenOf = db.prepare('select epoch, seq from sensors where lot = ? and sensor = ?')
const setSeen = db.prepare('insert into sensors (lot, sensor, epoch, seq) values (?, ?, ?, ?) on conflict (lot, sensor) do update set epoch = excluded.epoch, seq = excluded.seq')
const addCars = db.prepare('update lots set counted = counted + ? where lot = ?')
const addHeld = db.prepare('update lots set held = held + ? where lot = ?')
const addReservation = db.prepare('insert into reservations (id, lot, plate, secret_hash, status, until_ms) values (?, ?, ?, ?, ?, ?)')
const reservationOf = db.prepare('select lot, secret_hash, status from reservations where id = ?')
const endReservation = db.prepare('update reservations set status = \'cancelled\' where id = ?')

const client = await connectMqtt(`mqtt://127.0.0.1:${port}`, { clientId: 'bench-service' })

const freeOf = ({ capacity, counted, held }: LotRow): number => Math.max(0, capacity - Math.min(Math.max(counted, 0), capacity) - held)
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const refusal = (code: string): Reply => ({ ok: false, error: { code, message: code } })

function publishFree (lot: string): void {
  client.publish(`lots/${lot}/free`, String(freeOf(lotOf.get(lot) as LotRow)), { qos: 1, retain: true })
}

const count = db.transaction((lot: string, { sensor, epoch, seq, delta }: SensorMessage) => {
  const seen = seenOf.get(lot, sensor) as { epoch: number, seq: number } | undefined
  if (seen && (seen.epoch > epoch || (seen.epoch === epoch && seen.seq >= seq))) return
  setSeen.run(lot, sensor, epoch, seq)
  addCars.run(delta, lot)
})

const reserve = db.transaction(({ lot, plate }: { lot: string, plate: string }): Reply => {
  const row = lotOf.get(lot) as LotRow | undefined
  if (!row) return refusal('unknown_lot')
  if (freeOf(row) < 1) return refusal('lot_full')
  const id = `R-${randomBytes(6).toString('hex').toUpperCase()}`
  const secret = randomBytes(16).toString('base64url')
  const untilMs = Date.now() + HOLD_MS
  addReservation.run(id, lot, plate, sha256(secret), 'held', untilMs)
  addHeld.run(1, lot)
  return { ok: true, result: { reservation: id, lot, plate, status: 'held', from: new Date().toISOString(), until: new Date(untilMs).toISOString(), secret } }
})

const cancel = db.transaction(({ reservation, secret }: { reservation: string, secret: string }): Reply => {
  const row = reservationOf.get(reservation) as { lot: string, secret_hash: string, status: string } | undefined
  if (!row) return refusal('unknown_reservation')
  if (row.secret_hash !== sha256(secret)) return refusal('not_yours')
  if (row.status !== 'held') return refusal('already_cancelled')
  endReservation.run(reservation)
  addHeld.run(-1, row.lot)
  return { ok: true, result: { reservation, lot: row.lot, status: 'cancelled' } }
})

function availability ({ lot }: { lot: string }): Reply {
  const row = lotOf.get(lot) as LotRow | undefined
  return row ? { ok: true, result: { lots: [{ lot, free: freeOf(row), capacity: row.capacity }] } } : refusal('unknown_lot')
}

/** Answers a request or counts a car. Throws, and so ends the process, when SQLite cannot commit. */
function handle ({ topic, payload, properties }: IPublishPacket): void {
  const body = JSON.parse(payload.toString()) as object
  const [kind, name = ''] = topic.split('/')
  if (kind === 'lots') {
    count(name, body as SensorMessage)
    publishFree(name)
    return
  }
  const reply = name === 'reserve' ? reserve(body as never) : name === 'cancel' ? cancel(body as never) : name === 'availability' ? availability(body as never) : refusal('unknown_method')
  const { responseTopic, correlationData } = properties ?? {}
  if (responseTopic !== undefined) client.publish(responseTopic, JSON.stringify(reply), { qos: 1, ...correlationData && { properties: { correlationData } } })
  if (reply.ok && name !== 'availability') publishFree((reply.result as { lot: string }).lot)
}

if (acks === 'after-commit') {
  client.handleMessage = (packet, done) => {
    handle(packet)
    done()
  }
} else {
  const waiting: IPublishPacket[] = []
  let isWorking = false
  client.on('message', (_topic, _payload, packet) => {
    waiting.push(packet)
    if (!isWorking) void work()
  })
  const work = async (): Promise<void> => {
    isWorking = true
    for (let packet = waiting.shift(); packet !== undefined; packet = waiting.shift()) {
      // Replies and acknowledgements go out between two messages, not behind all of them.
      await new Promise(resolve => setImmediate(resolve))
      handle(packet)
    }
    isWorking = false
  }
}
await client.subscribeAsync(['lots/+/sensor', 'requests/+'], { qos: 1 })
console.log('ready')
process.once('SIGTERM', () => {
  void endMqtt(client).finally(() => {
    db.close()
    process.exit(0)
  })
})
