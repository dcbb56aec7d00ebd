// The programs of Debian's packages that a cluster is made of, and the user that PostgreSQL runs as.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { spawnSync } from 'node:child_process'
import { OperatorError } from '../../shared/errors.js'

const DEBIAN = '/usr/lib/postgresql'

export interface Packages {
  readonly patroni: string
  readonly etcd: string
  /** The folder of PostgreSQL's own programs. */
  readonly postgres: string
  /** Who PostgreSQL and Patroni run as; null: as this process. */
  readonly user: { readonly uid: number, readonly gid: number } | null
}

/** Throws `OperatorError` that says what to install. */
export function findPackages (): Packages {
  if (process.platform !== 'linux') throw new OperatorError('not_linux', `\`parkmq cluster\` runs on Linux, with Debian's postgresql, patroni and etcd-server; this is ${process.platform}`)
  const [patroni, etcd, postgres] = [programOf('patroni'), programOf('etcd'), postgresFolder()]
  if (patroni === null || etcd === null || postgres === null) {
    const missing = [...postgres === null ? ['postgresql'] : [], ...patroni === null ? ['patroni'] : [], ...etcd === null ? ['etcd-server'] : []]
    throw new OperatorError('missing_packages', `not installed: ${missing.join(', ')}. On Debian: apt-get install ${missing.join(' ')}`)
  }
  return { patroni, etcd, postgres, user: postgresUser() }
}

/** PostgreSQL, as another user, must get to its folders. Throws `OperatorError`. */
export function checkReach (folder: string, { user }: Packages): void {
  if (user === null) return
  const { status } = spawnSync('/bin/sh', ['-c', 'cd "$1"', 'sh', folder], { ...user, cwd: '/' })
  if (status === 0) return
  throw new OperatorError('folder_out_of_reach', `PostgreSQL does not run as root but as the user postgres, who cannot enter ${folder}: give a --folder that everybody can enter, such as /var/tmp/parkmq-cluster`)
}

function programOf (name: string): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/local/bin']
  return folders.map(folder => join(folder, name)).find(path => existsSync(path)) ?? null
}

function postgresFolder (): string | null {
  if (!existsSync(DEBIAN)) return null
  const newest = readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a)).find(version => existsSync(join(DEBIAN, version, 'bin', 'initdb')))
  return newest === undefined ? null : join(DEBIAN, newest, 'bin')
}

function postgresUser (): Packages['user'] {
  if (process.getuid?.() !== 0) return null
  const line = readFileSync('/etc/passwd', 'utf8').split('\n').find(line => line.startsWith('postgres:'))
  if (line === undefined) throw new OperatorError('missing_packages', 'PostgreSQL does not run as root, and there is no user postgres: run it as another user, or install Debian\'s postgresql')
  const [, , uid, gid] = line.split(':').map(Number)
  return { uid: uid as number, gid: gid as number }
}
