// Certificates for tests, made here and now: an authority, and server and client certificates that it signs. Just as
// much of X.509 (RFC 5280) as that needs, so that no test depends on a program being installed.
import { createPublicKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { isIPv4 } from 'node:net'
import { join } from 'node:path'
import { temporaryFolder } from './broker.js'

const DAY_MS = 24 * 3_600_000
const OID = { ecdsaWithSha256: '2a8648ce3d040302', commonName: '550403', basicConstraints: '551d13', subjectAltName: '551d11' }

/** Files of one certificate and its key, in PEM. */
export interface CertificateFiles {
  readonly cert: string
  readonly key: string
}

export interface IssueOptions {
  /** DNS names and IPv4 addresses; default `localhost` and `127.0.0.1`. */
  readonly names?: readonly string[]
  /** Default an hour ago. */
  readonly fromMs?: number
  /** Default in 30 days. */
  readonly untilMs?: number
  /** Where the files go; an earlier certificate there is overwritten. Default a folder of their own. */
  readonly folder?: string
}

export class TestAuthority {
  /** Its own certificate, for `ca`. */
  readonly file: string
  readonly folder: string
  readonly name: string
  readonly #key: KeyObject

  constructor (name = 'Test Authority') {
    this.name = name
    this.folder = temporaryFolder()
    this.file = join(this.folder, 'ca.pem')
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    this.#key = privateKey
    writeFileSync(this.file, this.#certificate(name, privateKey, { names: [] }, true))
  }

  /** A certificate for `commonName`, signed by this authority. */
  issue (commonName: string, options: IssueOptions = {}): CertificateFiles {
    const { folder = temporaryFolder() } = options
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
    writeFileSync(files.cert, this.#certificate(commonName, privateKey, options, false))
    writeFileSync(files.key, privateKey.export({ type: 'pkcs8', format: 'pem' }))
    return files
  }

  #certificate (commonName: string, key: KeyObject, { names = ['localhost', '127.0.0.1'], fromMs = Date.now() - DAY_MS / 24, untilMs = Date.now() + 30 * DAY_MS }: IssueOptions, isAuthority: boolean): string {
    const algorithm = sequence(oid(OID.ecdsaWithSha256))
    const extensions = [
      ...(isAuthority ? [sequence(oid(OID.basicConstraints), boolean(), octets(sequence(boolean())))] : []),
      ...(names.length > 0 ? [sequence(oid(OID.subjectAltName), octets(sequence(...names.map(altName))))] : [])
    ]
    const body = sequence(
      der(0xa0, integer(Buffer.from([2]))), integer(Buffer.concat([Buffer.from([1]), randomBytes(8)])), algorithm,
      nameOf(this.name), sequence(time(fromMs), time(untilMs)), nameOf(commonName),
      createPublicKey(key).export({ type: 'spki', format: 'der' }),
      ...(extensions.length > 0 ? [der(0xa3, sequence(...extensions))] : [])
    )
    const signed = sequence(body, algorithm, der(0x03, Buffer.from([0]), sign('sha256', body, this.#key)))
    return `-----BEGIN CERTIFICATE-----\n${signed.toString('base64').replace(/.{1,64}/g, '$&\n')}-----END CERTIFICATE-----\n`
  }
}

function der (tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const length = content.length < 128 ? [content.length] : content.length < 256 ? [0x81, content.length] : [0x82, content.length >> 8, content.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), content])
}

const sequence = (...parts: Buffer[]): Buffer => der(0x30, ...parts)
const integer = (bytes: Buffer): Buffer => der(0x02, bytes)
const boolean = (): Buffer => der(0x01, Buffer.from([0xff]))
const octets = (content: Buffer): Buffer => der(0x04, content)
const oid = (hex: string): Buffer => der(0x06, Buffer.from(hex, 'hex'))
const nameOf = (commonName: string): Buffer => sequence(der(0x31, sequence(oid(OID.commonName), der(0x0c, Buffer.from(commonName)))))
const time = (ms: number): Buffer => der(0x18, Buffer.from(new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '')))
const altName = (name: string): Buffer => isIPv4(name) ? der(0x87, Buffer.from(name.split('.').map(Number))) : der(0x82, Buffer.from(name))
