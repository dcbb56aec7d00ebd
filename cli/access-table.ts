// Who may do what, for `parkmq doctor --access`: the constant of shared/access.ts as a person reads it, and as it is for
// programs. It decides nothing and leaves nothing out.
import { ACCESS, type Role } from '../shared/access.js'
import { table } from './table.js'

const NOTES = `
A topic pattern is one of MQTT: + is one level, # is all the rest. {user} is the user's own name, {lot} each lot of a device.
What no row names is not allowed, also for wills and retained messages; with # or + a client gets only what its role may read.

Nobody but parkmq publishes on lots/+/free, lots/+/state, lots/+/bays/+, lots/+/events, services/#, cluster/# and $SYS/#.
A user's requests are answered under replies/{user}/ only (a service's wherever replies may go), and nobody else's can be
read there. A device speaks only for sensors that are called {user}, or {user}. and something.
RESERVATIONS: own are those that the same user made; whoever shows the secret of one may use it as well.

local is whoever connects where there are no users at all. Whoever gives no user name where there are users is not let in,
or is a display with allowAnonymous. Roles are given with \`parkmq user add NAME --role ROLE\`.`

/** The whole table for people, with what it means. */
export function accessText (): string {
  const rows = (Object.keys(ACCESS) as Role[]).flatMap(role => {
    const { publish, read, methods, lists, actsForOthers } = ACCESS[role]
    const reservations = methods.length === 0 ? 'none' : `lists ${lists === 'own' ? 'own' : 'all'}\nuses ${actsForOthers ? 'all' : 'own'}`
    return [[role, lines(publish), lines(read), methods === 'all' ? 'all' : lines(methods), reservations], ['', '', '', '', '']]
  })
  return `${table(['ROLE', 'MAY PUBLISH ON', 'MAY READ', 'MAY REQUEST', 'RESERVATIONS'], rows).trimEnd()}\n${NOTES}`
}

function lines (entries: readonly string[]): string {
  return entries.length === 0 ? 'nothing' : entries.join('\n')
}

/** `{"access":{"device":{"publish":[...],"read":[...],"methods":[...] or "all",...},...}}`, in one line. */
export function accessJson (): string {
  return JSON.stringify({ access: ACCESS })
}
