// The tables of sessions.db, and how each thing that the broker keeps becomes a row and comes back. Text is as MQTT has it:
// valid Unicode without U+0000 (MQTT 5.0 [MQTT-1.5.4-1], [MQTT-1.5.4-2]), which SQLite would cut the text at.
// A released shape is never changed; a new one follows it.
import type { BrokerChanges, BrokerState, StoredEntry, StoredMessage, StoredReceipt, StoredSession, StoredSubscription, StoredWill } from '../shared/broker-store.js'

const MESSAGE = `topic text not null, payload blob not null, qos integer not null, retain integer not null,
  properties blob not null, expires_at_ms integer, sender text`

/**
 * What brings the file from each shape to the next; `user_version` counts them. Strict tables, so that what comes back
 * has the types of its columns. Tables with long rows have a rowid, as `without rowid` is only for short ones.
 */
export const SHAPES: readonly string[] = [`
  create table sessions (client_id text primary key, expiry_seconds integer not null, disconnected_at_ms integer, user text) strict, without rowid;
  create table subscriptions (client_id text not null, filter text not null, qos integer not null, no_local integer not null,
    retain_as_published integer not null, identifier integer not null, primary key (client_id, filter)) strict, without rowid;
  create table messages (number integer primary key, ${MESSAGE}) strict;
  create table entries (client_id text not null, place integer not null, message integer not null, qos integer not null,
    retain integer not null, identifiers text, share_group text, packet_id integer not null, released integer not null,
    primary key (client_id, place)) strict, without rowid;
  create table retained (${MESSAGE}, primary key (topic)) strict;
  create table wills (client_id text primary key, delay_seconds integer not null, user text, ${MESSAGE}) strict;
  create table receipts (client_id text not null, packet_id integer not null, primary key (client_id, packet_id)) strict, without rowid;
`]

export type Cell = string | number | Uint8Array | null
export type Row = readonly Cell[]

/** The columns of every table in the order of its rows: first the `keys` that make the key, then the others. */
const COLUMNS = {
  sessions: { keys: 1, names: ['client_id', 'expiry_seconds', 'disconnected_at_ms', 'user'] },
  subscriptions: { keys: 2, names: ['client_id', 'filter', 'qos', 'no_local', 'retain_as_published', 'identifier'] },
  messages: { keys: 1, names: ['number', 'topic', 'payload', 'qos', 'retain', 'properties', 'expires_at_ms', 'sender'] },
  entries: { keys: 2, names: ['client_id', 'place', 'message', 'qos', 'retain', 'identifiers', 'share_group', 'packet_id', 'released'] },
  retained: { keys: 1, names: ['topic', 'payload', 'qos', 'retain', 'properties', 'expires_at_ms', 'sender'] },
  wills: { keys: 1, names: ['client_id', 'topic', 'payload', 'qos', 'retain', 'properties', 'expires_at_ms', 'sender', 'delay_seconds', 'user'] },
  receipts: { keys: 2, names: ['client_id', 'packet_id'] }
} as const satisfies Record<keyof BrokerState, { keys: number, names: readonly string[] }>

export type Table = keyof typeof COLUMNS
export const TABLES = Object.keys(COLUMNS) as readonly Table[]

/** The texts of the three statements of a table: put or replace a row, take away the row with a key, all rows by key. */
export function statementTexts (table: Table): { readonly put: string, readonly gone: string, readonly all: string } {
  const names: readonly string[] = COLUMNS[table].names
  const keys = names.slice(0, COLUMNS[table].keys)
  const others = names.slice(keys.length).map(name => `${name} = excluded.${name}`)
  return {
    put: `insert into ${table} (${names.join(', ')}) values (${names.map(() => '?').join(', ')})
      on conflict (${keys.join(', ')}) do ${others.length === 0 ? 'nothing' : `update set ${others.join(', ')}`}`,
    gone: `delete from ${table} where ${keys.map(key => `${key} = ?`).join(' and ')}`,
    all: `select ${names.join(', ')} from ${table} order by ${keys.join(', ')}`
  }
}

/** The tables that hold what ends with a session, by its client id. */
export const TABLES_OF_A_SESSION = ['sessions', 'subscriptions', 'entries', 'receipts'] as const satisfies readonly Table[]

/** One row to put, a key whose row goes, or a client id whose session goes with all that is its own. */
export type Step =
  | { readonly type: 'put' | 'gone', readonly table: Table, readonly row: Row }
  | { readonly type: 'sessionGone', readonly row: readonly [clientId: string] }

/** The changes as single rows, in the order in which they are carried out. */
export function* stepsOf (changes: BrokerChanges): Generator<Step, void> {
  for (const clientId of changes.sessionsGone) yield { type: 'sessionGone', row: [clientId] }

  for (const key of changes.subscriptionsGone) yield { type: 'gone', table: 'subscriptions', row: key }
  for (const key of changes.entriesGone) yield { type: 'gone', table: 'entries', row: key }
  for (const number of changes.messagesGone) yield { type: 'gone', table: 'messages', row: [number] }
  for (const topic of changes.retainedGone) yield { type: 'gone', table: 'retained', row: [topic] }
  for (const clientId of changes.willsGone) yield { type: 'gone', table: 'wills', row: [clientId] }
  for (const key of changes.receiptsGone) yield { type: 'gone', table: 'receipts', row: key }

  for (const s of changes.sessions) yield { type: 'put', table: 'sessions', row: [s.clientId, s.expirySeconds, s.disconnectedAtMs, s.user] }
  for (const s of changes.subscriptions) {
    yield { type: 'put', table: 'subscriptions', row: [s.clientId, s.filter, s.qos, Number(s.noLocal), Number(s.retainAsPublished), s.identifier] }
  }
  for (const [number, message] of changes.messages) yield { type: 'put', table: 'messages', row: [number, ...rowOfMessage(message)] }
  for (const entry of changes.entries) yield { type: 'put', table: 'entries', row: rowOfEntry(entry) }
  for (const message of changes.retained) yield { type: 'put', table: 'retained', row: rowOfMessage(message) }
  for (const will of changes.wills) yield { type: 'put', table: 'wills', row: [will.clientId, ...rowOfMessage(will.message), will.delaySeconds, will.user] }
  for (const receipt of changes.receipts) yield { type: 'put', table: 'receipts', row: [receipt.clientId, receipt.packetId] }
}

function rowOfMessage ({ topic, payload, qos, retain, properties, expiresAtMs, from }: StoredMessage): Row {
  return [topic, payload, qos, Number(retain), properties, expiresAtMs, from]
}

function rowOfEntry (entry: StoredEntry): Row {
  // Most have none, and are then spared the JSON.
  const identifiers = entry.identifiers.length === 0 ? null : JSON.stringify(entry.identifiers)
  return [entry.clientId, entry.place, entry.message, entry.qos, Number(entry.retain), identifiers, entry.group, entry.packetId, Number(entry.released)]
}

type QoS = StoredMessage['qos']
type Flag = 0 | 1
type MessageRow = [topic: string, payload: Buffer, qos: QoS, retain: Flag, properties: Buffer, expiresAtMs: number | null, sender: string | null]

/** The rows of each table, as the strict columns above have them. */
export interface Rows {
  readonly sessions: readonly [clientId: string, expirySeconds: number, disconnectedAtMs: number | null, user: string | null][]
  readonly subscriptions: readonly [clientId: string, filter: string, qos: QoS, noLocal: Flag, retainAsPublished: Flag, identifier: number][]
  readonly messages: readonly [number: number, ...message: MessageRow][]
  readonly entries: readonly [clientId: string, place: number, message: number, qos: 1 | 2, retain: Flag, identifiers: string | null, group: string | null, packetId: number, released: Flag][]
  readonly retained: readonly MessageRow[]
  readonly wills: readonly [clientId: string, ...message: MessageRow, delaySeconds: number, user: string | null][]
  readonly receipts: readonly [clientId: string, packetId: number][]
}

/** Everything that is stored, from the rows of all tables, each in the order of its key. */
export function stateOf (rows: Rows): BrokerState {
  return {
    sessions: rows.sessions.map(([clientId, expirySeconds, disconnectedAtMs, user]): StoredSession => ({ clientId, expirySeconds, disconnectedAtMs, user })),
    subscriptions: rows.subscriptions.map(([clientId, filter, qos, noLocal, retainAsPublished, identifier]): StoredSubscription => (
      { clientId, filter, qos, noLocal: noLocal === 1, retainAsPublished: retainAsPublished === 1, identifier }
    )),
    messages: new Map(rows.messages.map(([number, ...message]) => [number, messageOfRow(message)])),
    entries: rows.entries.map(([clientId, place, message, qos, retain, identifiers, group, packetId, released]): StoredEntry => ({
      clientId, place, message, qos, retain: retain === 1, identifiers: identifiers === null ? [] : JSON.parse(identifiers) as number[], group, packetId, released: released === 1
    })),
    retained: rows.retained.map(messageOfRow),
    wills: rows.wills.map(([clientId, topic, payload, qos, retain, properties, expiresAtMs, sender, delaySeconds, user]): StoredWill => (
      { clientId, user, message: messageOfRow([topic, payload, qos, retain, properties, expiresAtMs, sender]), delaySeconds }
    )),
    receipts: rows.receipts.map(([clientId, packetId]): StoredReceipt => ({ clientId, packetId }))
  }
}

function messageOfRow ([topic, payload, qos, retain, properties, expiresAtMs, from]: MessageRow): StoredMessage {
  return { topic, payload, qos, retain: retain === 1, properties, expiresAtMs, from }
}
