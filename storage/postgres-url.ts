// `postgres://user:password@h1:5432,h2/database?sslmode=verify-full`: several hosts of one database, as libpq writes them. The
// driver knows one host only, and a URL of the web has no list.
import { readFileSync } from 'node:fs'
import { messageOf, OperatorError } from '../shared/errors.js'

export interface PostgresHost {
  readonly host: string
  readonly port: number
}

export interface PostgresTarget {
  /** At least one; which of them can be written is asked (postgres-pool.ts). */
  readonly hosts: readonly PostgresHost[]
  /** Absent: PGUSER and PGPASSWORD, ~/.pgpass, or the user of the system, as libpq has it. */
  readonly user?: string
  readonly password?: string
  readonly database: string
  readonly ssl: false | { readonly rejectUnauthorized: boolean, readonly ca?: string, readonly checkServerIdentity?: () => undefined }
}

const SHAPE = /^postgres(?:ql)?:\/\/(?:([^:@/]*)(?::([^@/]*))?@)?([^/?]+)\/([^?]+)(?:\?(.*))?$/
const DEFAULT_PORT = 5_432
const MOST_HOSTS = 16
const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full'] as const

/** Throws `OperatorError` `bad_config` that names what is wrong, never the password. */
export function parsePostgresUrl (url: string): PostgresTarget {
  const parts = SHAPE.exec(url)
  if (!parts) throw wrong('write postgres://user@host1,host2/database')
  const [, user = '', password = '', hosts = '', database = '', query = ''] = parts
  const ssl = sslOf(new URLSearchParams(query))
  return {
    hosts: hostsOf(hosts),
    ...(user !== '' && { user: decoded(user, 'the user') }),
    ...(password !== '' && { password: decoded(password, 'the password') }),
    database: decoded(database, 'the name of the database'),
    ssl
  }
}

function hostsOf (text: string): PostgresHost[] {
  const hosts = text.split(',').map(one => {
    const [, inBrackets, plain, port] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(one) ?? []
    const host = inBrackets ?? plain
    if (host === undefined || Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535) throw wrong(`${one || 'an empty host'} is not host or host:port (IPv6 in brackets)`)
    return { host, port: port === undefined ? DEFAULT_PORT : Number(port) }
  })
  if (hosts.length > MOST_HOSTS) throw wrong(`it names ${hosts.length} hosts; at most ${MOST_HOSTS} are taken`)
  return hosts
}

function sslOf (query: URLSearchParams): PostgresTarget['ssl'] {
  for (const name of query.keys()) if (name !== 'sslmode' && name !== 'sslrootcert') throw wrong(`${name} is unknown; there are sslmode and sslrootcert`)
  const mode = (query.get('sslmode') ?? 'disable') as (typeof SSL_MODES)[number]
  if (!SSL_MODES.includes(mode)) throw wrong(`sslmode=${mode} is unknown; it is one of ${SSL_MODES.join(', ')}`)
  if (mode === 'disable') return false
  const file = query.get('sslrootcert')
  return {
    rejectUnauthorized: mode !== 'require',
    ...(file !== null && { ca: read(file) }),
    // The certificate must be of the authority, whatever host it is for.
    ...(mode === 'verify-ca' && { checkServerIdentity: () => undefined })
  }
}

function read (file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw wrong(`sslrootcert cannot be read: ${messageOf(error)}`)
  }
}

function decoded (text: string, what: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw wrong(`${what} is not percent-encoded as it should be`)
  }
}

function wrong (why: string): OperatorError {
  return new OperatorError('bad_config', `wrong setting: database: ${why}`)
}
