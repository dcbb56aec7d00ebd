// Where a setting comes from, which one wins, and what a wrong one says.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { defaultUrl, loadConfig, type ConfigInputs } from '../../shared/config.js'

function file (content: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'parkmq-config-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'parkmq.yaml')
  writeFileSync(path, content)
  return path
}

/** Never the environment of whoever runs the tests. */
const load = (inputs: ConfigInputs = {}) => loadConfig({ env: {}, ...inputs })

describe('without any settings', () => {
  test('parkmq listens on this machine only and has the four lots', () => {
    const { config, sources } = load()
    expect(config).toMatchObject({ host: '127.0.0.1', port: 1883, wsPort: 9001, data: './data', node: 'node-1', logLevel: 'info' })
    expect(config.httpPort).toBeUndefined()
    expect(config.broker).toBeUndefined()
    expect(config.lots.map(({ lot, capacity, occupied }) => `${lot} ${capacity}/${occupied}`)).toEqual(['LOT-A 100/50', 'LOT-B 150/75', 'LOT-C 80/40', 'LOT-D 200/120'])
    expect(config.limits.packetBytes).toBe(524_288)
    expect(config.times.holdMs).toBe(300_000)
    expect(new Set(Object.values(sources))).toEqual(new Set(['default']))
  })
})

describe('a setting', () => {
  test('comes from the file, in YAML or JSON', () => {
    expect(load({ file: file('port: 1999\ntimes:\n  holdMs: 60000\n') }).config).toMatchObject({ port: 1999, times: { holdMs: 60_000, gapGraceMs: 5_000 } })
    expect(load({ file: file('{"node":"north","lots":[{"lot":"P1","capacity":5}]}') }).config).toMatchObject({ node: 'north', lots: [{ lot: 'P1', capacity: 5 }] })
  })

  test('comes from the file that PARKMQ_CONFIG names, unless another is given', () => {
    const env = { PARKMQ_CONFIG: file('port: 1111') }
    expect(load({ env }).config.port).toBe(1111)
    expect(load({ env, file: file('port: 2222') }).config.port).toBe(2222)
  })

  test('of a flag beats the environment, which beats the file', () => {
    const inputs = { file: file('port: 1\nwsPort: 1\nhttpPort: 1\n'), env: { PARKMQ_PORT: '2', PARKMQ_WS_PORT: '2' }, flags: { port: '3' } }
    const { config, sources } = load(inputs)
    expect([config.port, config.wsPort, config.httpPort]).toEqual([3, 2, 1])
    expect([sources.port, sources.wsPort, sources.httpPort, sources.host]).toEqual(['flag', 'environment', 'file', 'default'])
  })

  test('that is an empty variable or a flag not given counts as none', () => {
    expect(load({ env: { PARKMQ_PORT: '' }, flags: { port: undefined } }).config.port).toBe(1883)
  })

  test.each([
    ['PARKMQ_HOST', '0.0.0.0', { host: '0.0.0.0' }],
    ['PARKMQ_HTTP_PORT', '0', { httpPort: 0 }],
    ['PARKMQ_DATA', '/var/lib/parkmq', { data: '/var/lib/parkmq' }],
    ['PARKMQ_BROKER', 'mqtt://broker:1883', { broker: 'mqtt://broker:1883' }],
    ['PARKMQ_NODE', 'north', { node: 'north' }],
    ['PARKMQ_LOG_LEVEL', 'debug', { logLevel: 'debug' }]
  ])('has its variable %s', (name, value, config) => expect(load({ env: { [name]: value } }).config).toMatchObject(config))

  test('that the file leaves empty is the default', () => expect(load({ file: file('# nothing yet\n') }).config.port).toBe(1883))
})

describe('a wrong setting stops the start and is named', () => {
  test.each<[string, ConfigInputs, RegExp]>([
    ['a port that is none, from the environment', { env: { PARKMQ_PORT: '70000' } }, /wrong setting from the environment: port: .*got 70000|wrong setting from the environment: port: .*got "70000"/],
    ['a port in words, from a flag', { flags: { port: 'mqtt' } }, /wrong setting from the command line: port: .*got "mqtt"/],
    ['an empty port', { flags: { port: ' ' } }, /port: /],
    ['a port that is true', { flags: { port: true } }, /port: /],
    ['a log level', { env: { PARKMQ_LOG_LEVEL: 'loud' } }, /logLevel: .*got "loud"/],
    ['a broker that is no MQTT URL', { env: { PARKMQ_BROKER: 'http://broker' } }, /broker: /],
    ['a node with a slash', { flags: { node: 'a/b' } }, /node: /]
  ])('%s', (_, inputs, message) => expect(() => load(inputs)).toThrow(message))

  test.each([
    ['prot: 1883', /Unrecognized key: "prot"$/],
    ['times:\n  holdSeconds: 5', /times: Unrecognized key: "holdSeconds"/],
    ['times:\n  holdMs: 5', /times\.holdMs: .*got 5/],
    ['lots:\n  - { lot: X, capacity: 10, bufer: 2 }', /lots\.0: .*bufer/],
    ['limits:\n  packetBytes: null', /limits\.packetBytes: /],
    ['lots:\n  - lot: P1', /lots\.0\.capacity: /],
    ['lots:\n  - {lot: P1, capacity: 1}\n  - {lot: P1, capacity: 2}', /lots names P1 twice/],
    ['- port', /must be a table of settings/],
    ['port: [', /cannot read the config file .*parkmq\.yaml/]
  ])('the file %j', (content, message) => {
    const path = file(content)
    expect(() => load({ file: path })).toThrow(message)
    expect(() => load({ file: path })).toThrow(expect.objectContaining({ code: 'bad_config' }) as Error)
  })

  test('names the file that it stands in, also when another setting comes from elsewhere', () => {
    const path = file('times:\n  holdMs: 5\n')
    expect(() => load({ file: path, env: { PARKMQ_PORT: '1' } })).toThrow(`wrong setting in ${path}: times.holdMs`)
  })

  test('a file that is not there', () => expect(() => load({ file: '/nowhere/parkmq.yaml' })).toThrow(/cannot read the config file \/nowhere\/parkmq\.yaml: ENOENT/))
})

describe('with TLS', () => {
  const env = { PARKMQ_TLS_CERT: 'c.pem', PARKMQ_TLS_KEY: 'k.pem' }

  test('the ports are those of TLS, unless they are set', () => {
    expect(load({ env }).config).toMatchObject({ port: 8883, wsPort: 9443, tls: { cert: 'c.pem', key: 'k.pem' } })
    expect(load({ env, flags: { port: '1', wsPort: '2' } }).config).toMatchObject({ port: 1, wsPort: 2 })
    expect(defaultUrl(env)).toBe('mqtts://127.0.0.1:8883')
  })

  test('file, environment and flags fill the same table, the later wins', () => {
    const { config, sources } = load({ file: file('tls: { cert: a, key: a, ca: a }'), env: { PARKMQ_TLS_KEY: 'b', PARKMQ_TLS_CA: 'b' }, flags: { 'tls.ca': 'c', 'tls.cert': undefined } })
    expect(config.tls).toEqual({ cert: 'a', key: 'b', ca: 'c' })
    expect(sources.tls).toBe('flag')
  })

  test.each<[string, ConfigInputs, RegExp]>([
    ['a certificate without its key', { env: { PARKMQ_TLS_CERT: 'c.pem' } }, /from the environment: tls\.key: is missing: name the file, also with --tls-key/],
    ['a key without its certificate', { flags: { 'tls.key': 'k.pem' } }, /from the command line: tls\.cert: is missing: name the file, also with --tls-cert/],
    ['client certificates without an authority', { flags: { 'tls.cert': 'c', 'tls.key': 'k', 'tls.clientCertificates': 'required' } as NonNullable<ConfigInputs['flags']> }, /tls\.clientCertificates is required and tls\.ca is missing/],
    ['a table that is none', { flags: { tls: 'yes please' } as NonNullable<ConfigInputs['flags']> }, /tls: /]
  ])('%s is refused', (_, inputs, message) => expect(() => load(inputs)).toThrow(message))
})

test('client commands find the broker by PARKMQ_URL, by PARKMQ_PORT, or on the usual port', () => {
  expect([defaultUrl({ PARKMQ_URL: 'mqtt://north:1', PARKMQ_PORT: '2' }), defaultUrl({ PARKMQ_PORT: '2' }), defaultUrl({})]).toEqual([
    'mqtt://north:1', 'mqtt://127.0.0.1:2', 'mqtt://127.0.0.1:1883'
  ])
})
