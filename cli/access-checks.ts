// What `parkmq doctor` says about who gets in, and over what: users, whoever gives no name, TLS, web pages. It reads what a
// start would read, changes nothing, and never prints a password, a hash or a key.
import { stat } from 'node:fs/promises'
import { checkExposure, isLoopback } from '../broker/exposure.js'
import { readCertificates } from '../broker/tls.js'
import { readUsersFile, usersFileOf, type UserEntry } from '../broker/users-file.js'
import { ROLES } from '../shared/access.js'
import type { Config } from '../shared/config.js'
import { messageOf } from '../shared/errors.js'
import { shownUrl } from '../shared/broker-urls.js'
import type { Check } from './check.js'

const DAY_MS = 24 * 3_600_000
/** How long before its end a certificate is warned of, and from when on that is wrong, in days. */
const [WARN_DAYS, WRONG_DAYS] = [30, 14]

type TlsSettings = NonNullable<Config['tls']>

/** All checks of access. Never throws: what cannot be read is a check that says so. */
export async function accessChecks (config: Config): Promise<Check[]> {
  if (config.broker !== undefined) return [await otherBroker(config)]
  const { tls } = config
  return [
    ...await userChecks(config),
    transport(config),
    ...tls ? [await certificate(tls), ...await privateKey(tls)] : [],
    webPages(config)
  ]
}

async function otherBroker (config: Config): Promise<Check> {
  return await attempt('users', async () => {
    usersFileOf(config)
    return { name: 'users', ok: null, said: `those of the broker at ${shownUrl(config.broker ?? '')}: who may do what is for that broker to say` }
  })
}

async function userChecks (config: Config): Promise<Check[]> {
  const { allowAnonymous, tls } = config
  let file: string | null
  let users: UserEntry[]
  try {
    file = usersFileOf(config)
    if (file === null) return [withoutUsers(config)]
    users = await readUsersFile(file)
  } catch (error) {
    return [{ name: 'users', ok: false, said: messageOf(error) }]
  }
  const shut = users.filter(user => user.password === undefined && tls?.ca === undefined).map(user => user.name)
  return [
    { name: 'users', ok: true, said: `${file}: ${counted(users)}; ${await readableBy(file)}` },
    ...users.some(user => user.role === 'operator') ? [] : [warning('operator', 'nobody is one: no request can change a lot; make one with `parkmq user add NAME --role operator`')],
    ...shut.length === 0 ? [] : [warning('certificates only', `${listed(shut)} cannot log in: without a password that takes a client certificate, and tls.ca (--tls-ca) is not set`)],
    allowAnonymous
      ? { name: 'anonymous', ok: null, said: 'whoever gives no user name is let in as a display (allowAnonymous)' }
      : { name: 'anonymous', ok: true, said: 'whoever gives no user name is not let in' }
  ]
}

function withoutUsers (config: Config): Check {
  const name = 'users'
  try {
    const exposed = checkExposure(config)
    if (exposed !== null) return warning(name, exposed)
    return { name, ok: null, said: 'none: every program on this machine may do everything, and others cannot connect;\n`parkmq user add NAME --role operator` makes the first' }
  } catch (error) {
    return { name, ok: false, said: messageOf(error) }
  }
}

function counted (users: readonly UserEntry[]): string {
  if (users.length === 0) return 'nobody: nobody can log in'
  const byRole = ROLES.flatMap(role => {
    const count = users.filter(user => user.role === role).length
    return count === 0 ? [] : [`${count} ${role}`]
  })
  return `${users.length} (${byRole.join(', ')})`
}

/** Who but the owner may do what with it was refused when it was read, except reading by its group. */
async function readableBy (file: string): Promise<string> {
  const { mode } = await stat(file)
  const shown = (mode & 0o777).toString(8)
  if (process.platform === 'win32') return 'who may read it is for Windows to say'
  return (mode & 0o077) === 0 ? `only its owner may read it (mode ${shown})` : `its owner and its group may read it (mode ${shown})`
}

function transport ({ host, tls }: Config): Check {
  const name = 'TLS'
  if (tls === undefined) {
    return isLoopback(host)
      ? { name, ok: null, said: `off: nothing leaves this machine (host ${host})` }
      : warning(name, `off, and others reach ${host}: passwords, plates and secrets can be read on the way; give --tls-cert and --tls-key`)
  }
  const mode = tls.clientCertificates ?? (tls.ca === undefined ? 'none' : 'optional')
  const clients = { none: 'client certificates are not asked for', optional: `a client certificate signed by ${tls.ca} is a way to log in`, required: `every client must have a certificate signed by ${tls.ca}` }[mode]
  return { name, ok: true, said: `on, 1.2 and later, on both ports; ${clients}` }
}

/** What the certificate of the listeners is for and how long it lasts. */
async function certificate (tls: TlsSettings): Promise<Check> {
  const name = 'certificate'
  return await attempt(name, async () => {
    const { names, endsAtMs } = await readCertificates(tls, Date.now())
    const days = Math.floor((endsAtMs - Date.now()) / DAY_MS)
    const said = `${tls.cert} is for ${names.length > 0 ? names.join(', ') : 'no name at all, which clients refuse'} and ends in ${days} days, on ${new Date(endsAtMs).toISOString().slice(0, 10)}`
    const ok = days >= WRONG_DAYS && names.length > 0
    if (ok && days >= WARN_DAYS) return { name, ok, said }
    const mend = days >= WARN_DAYS ? said : `${said}: renew it; a running parkmq takes the new files by itself`
    return ok ? warning(name, mend) : { name, ok, said: mend }
  })
}

async function privateKey ({ key }: TlsSettings): Promise<Check[]> {
  // That it cannot be read is said of the certificate.
  const about = await stat(key).catch(() => null)
  if (about === null || process.platform === 'win32' || (about.mode & 0o007) === 0) return []
  return [warning('private key', `other users of this machine may read ${key} (mode ${(about.mode & 0o777).toString(8)}); take that away with: chmod 600 ${key}`)]
}

function webPages ({ host, wsOrigins }: Config): Check {
  const own = ['localhost', '127.0.0.1', '[::1]', ...isLoopback(host) ? [] : [host.includes(':') ? `[${host}]` : host]]
  const others = wsOrigins.length === 0 ? 'no others (wsOrigins)' : `${wsOrigins.join(', ')} (wsOrigins)`
  return { name: 'web pages', ok: null, said: `over WebSocket those of ${own.join(', ')} may connect, and ${others}` }
}

function warning (name: string, said: string): Check {
  return { name, ok: true, warning: true, said }
}

function listed (names: readonly string[]): string {
  return names.length <= 5 ? names.join(', ') : `${names.slice(0, 5).join(', ')} and ${names.length - 5} more`
}

async function attempt (name: string, look: () => Promise<Check>): Promise<Check> {
  try {
    return await look()
  } catch (error) {
    return { name, ok: false, said: messageOf(error) }
  }
}
