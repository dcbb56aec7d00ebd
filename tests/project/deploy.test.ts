// The files of deploy/: they name settings that exist, and Patroni's are those with which the faults of a cluster are tested.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { patroniSettings } from '../../cli/cluster/patroni-settings.js'
import { VARIABLES } from '../../shared/config.js'

const read = (name: string): string => readFileSync(new URL(`../../deploy/${name}`, import.meta.url), 'utf8')
const variables = (text: string): Record<string, string> =>
  Object.fromEntries(text.split('\n').filter(line => /^#?[A-Z][A-Z0-9_]*=/.test(line)).map(line => line.replace(/^#/, '').split(/=(.*)/s, 2) as [string, string]))

/** Names and addresses of this machine, and where things are. */
const made = patroniSettings({
  scope: 'parkmq', member: { name: 'north', host: '10.0.0.11', port: 5432, restPort: 8008 }, etcd: ['10.0.0.11:2379'], data: '/data', passFile: '/pass',
  programs: '/usr/lib/postgresql/15/bin', network: '10.0.0.0/24', passwords: { postgres: 'a', replicator: 'b' }
}) as { bootstrap: { dcs: { postgresql: { parameters: Record<string, unknown> } } }, postgresql: Record<string, unknown> }

interface Compose {
  readonly services: Record<string, { readonly environment?: Record<string, string>, readonly image: string }>
}

describe('deploy/', () => {
  const known = new Set<string>(Object.keys(VARIABLES))

  test('the settings of parkmq exist', () => {
    const names = Object.keys(variables(read('machine/parkmq.env'))).filter(name => name !== 'PGPASSWORD')
    expect(names.length).toBeGreaterThan(5)
    for (const name of names) expect(known, name).toContain(name)

    const { services } = parse(read('compose/compose.yaml'), { merge: true }) as Compose
    const nodes = Object.entries(services).filter(([, { image }]) => image === 'parkmq')
    expect(nodes.map(([name]) => name)).toEqual(['parkmq-1', 'parkmq-2', 'parkmq-3'])
    for (const [, { environment = {} }] of nodes) {
      for (const name of Object.keys(environment).filter(name => name !== 'PGPASSWORD')) expect(known, name).toContain(name)
      expect(environment).toHaveProperty('PARKMQ_DATABASE')
    }
  })

  test('Patroni behaves as in the tests of a cluster', () => {
    const written = parse(read('machine/patroni.yml')) as typeof made
    const { parameters: { shared_buffers: own, unix_socket_directories: none, ...tested }, ...postgresql } = made.bootstrap.dcs.postgresql
    const { parameters: { shared_buffers: given, ...parameters } } = written.bootstrap.dcs.postgresql
    expect([own, none, given]).toEqual(['32MB', '', '1GB'])
    expect(written.bootstrap.dcs).toEqual({ ...made.bootstrap.dcs, postgresql: { ...postgresql, parameters: { shared_buffers: given, ...tested } } })
    expect(parameters).toEqual(tested)
    for (const name of Object.keys(made.postgresql).filter(name => name.startsWith('remove_'))) expect(written.postgresql[name]).toBe(made.postgresql[name])
  })

  test('no lock of etcd can be overwritten by a primary that comes back', () => {
    const { services } = parse(read('compose/compose.yaml'), { merge: true }) as Compose
    const all = [variables(read('machine/etcd')), variables(read('machine/patroni_env.conf')), ...Object.values(services).map(({ environment = {} }) => environment)]
    const patroni = all.filter(one => 'PATRONI_NAME' in one)
    const etcd = all.filter(one => 'ETCD_NAME' in one)
    expect([patroni.length, etcd.length]).toEqual([4, 4])
    for (const one of patroni) expect(Object.keys(one).filter(name => name.startsWith('PATRONI_ETCD'))).toEqual(['PATRONI_ETCD_HOSTS'])
    for (const one of etcd) expect(one).toMatchObject({ ETCD_ENABLE_V2: 'true', ETCD_PRE_VOTE: 'true' })
    expect(made).not.toHaveProperty('etcd3')
  })
})
