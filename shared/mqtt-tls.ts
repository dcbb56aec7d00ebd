// TLS of a MQTT client: the files that a person names, and words for what goes wrong between a client and a server that
// do not trust each other, or of which only one speaks TLS. The server is always checked; there is no way around it.
import { readFile } from 'node:fs/promises'
import { connect, createSecureContext, rootCertificates, type DetailedPeerCertificate, type PeerCertificate } from 'node:tls'
import { messageOf, OperatorError } from './errors.js'

/** How long a look at a port may take when a connection to it has failed, in milliseconds. */
const LOOK_WITHIN_MS = 2_000

export const TLS_PROTOCOLS: ReadonlySet<string> = new Set(['mqtts:', 'wss:'])

/** As Node takes them; PEM. */
export interface ClientTls {
  /** All authorities that are trusted. Default: the usual ones. */
  readonly ca?: string[]
  /** The client's own certificate with those behind it, and its key. */
  readonly cert?: Buffer
  readonly key?: Buffer
  /** The name that the server's certificate must be for; default the host of the URL. */
  readonly servername?: string
}

/** Files in PEM. */
export interface ClientTlsFiles {
  /** An authority that is trusted besides the usual ones. */
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
}

/** Reads the files. Throws `OperatorError` (`bad_certificate`) that names the file and the fix. */
export async function readClientTls ({ ca, cert, key }: ClientTlsFiles): Promise<ClientTls> {
  if ((cert === undefined) !== (key === undefined)) {
    throw new OperatorError('bad_certificate', cert === undefined ? `there is a key, ${key}, and no certificate: name it with --cert` : `there is a certificate, ${cert}, and no key: name it with --key`)
  }
  const tls = {
    ...ca !== undefined && { ca: [...rootCertificates, checked(await read(ca, '--ca'), pem => createSecureContext({ ca: pem }), `${ca} is not a certificate in PEM; name another with --ca`).toString()] },
    ...cert !== undefined && { cert: await read(cert, '--cert') },
    ...key !== undefined && { key: await read(key, '--key') }
  }
  checked(tls, () => createSecureContext(tls), `TLS cannot use ${cert} with ${key}: the key must be that of the certificate, in PEM, without a passphrase`)
  return tls
}

async function read (path: string, flag: string): Promise<Buffer> {
  try {
    const pem = await readFile(path)
    if (!pem.includes('-----BEGIN')) throw new Error('it is not PEM')
    return pem
  } catch (cause) {
    throw new OperatorError('bad_certificate', `cannot use the file ${path}: ${messageOf(cause)}; name another with ${flag}`, { cause })
  }
}

function checked<T> (value: T, check: (value: T) => unknown, words: string): T {
  try {
    check(value)
    return value
  } catch (cause) {
    throw new OperatorError('bad_certificate', `${words} (${messageOf(cause)})`, { cause })
  }
}

const UNTRUSTED = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT', 'SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'CERT_UNTRUSTED', 'CERT_SIGNATURE_FAILURE', 'INVALID_CA'
])

/** What a failed connection says by itself; null when that is nothing about TLS. */
export function failureOf ({ host, hostname, protocol }: URL, cause: unknown): string | null {
  if (!(cause instanceof Error)) return null
  const code = String((cause as NodeJS.ErrnoException).code)
  switch (code) {
    case 'ERR_TLS_CERT_ALTNAME_INVALID': return `the certificate of ${host} is not for ${hostname} but for ${namesIn((cause as { cert?: PeerCertificate }).cert)}: use that name in the URL, or give the server a certificate for this one`
    case 'CERT_HAS_EXPIRED': return `the certificate of ${host}, or of who signed it, has ended: it must be renewed`
    case 'CERT_NOT_YET_VALID': return `the certificate of ${host} is not valid yet: check the clocks of both machines`
    case 'EPROTO': case 'ERR_SSL_WRONG_VERSION_NUMBER': case 'ERR_SSL_PACKET_LENGTH_TOO_LONG': {
      if (/wrong version number|packet length too long/.test(cause.message)) return `${host} does not speak TLS: write ${protocol === 'wss:' ? 'ws' : 'mqtt'}:// for a connection without it, or another port`
      return `${host} and this client cannot agree on TLS: ${cause.message}`
    }
    default: return /^ERR_SSL_.*ALERT.*CERT/.test(code) || /alert.*certificate/i.test(cause.message) ? `${host} wants a certificate of this client that it knows: give it with --cert and --key` : null
  }
}

function namesIn (certificate: PeerCertificate | undefined): string {
  const names = (certificate?.subjectaltname ?? '').replace(/DNS:|IP Address:/g, '')
  return names === '' ? 'no name at all' : names
}

/** Looks again at a port where a connection failed without words: who signed its certificate, or whether it speaks TLS at all. */
export async function checkPort (url: URL, cause: unknown): Promise<string | null> {
  const code = String((cause as { code?: unknown } | undefined)?.code)
  const { host, protocol } = url
  const isSecure = TLS_PROTOCOLS.has(protocol)
  if (UNTRUSTED.has(code)) {
    const seen = await certificateAt(url)
    const issuer = seen?.issuer.CN ?? seen?.issuer.O
    const isOwn = code === 'DEPTH_ZERO_SELF_SIGNED_CERT'
    return `the certificate of ${host} is signed by ${isOwn ? 'itself' : issuer === undefined ? 'somebody' : JSON.stringify(issuer)}, which is not trusted; give ${isOwn ? 'it' : 'its CA'} with --ca`
  }
  // Where nobody answers at all, or nobody speaks MQTT, a second look shows no more.
  if (messageOf(cause) === 'connack timeout' || /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT)$/.test(code)) return null
  const speaksTls = await certificateAt(url) !== null
  if (isSecure && speaksTls) return `${host} ended the connection behind the TLS handshake: perhaps it wants a certificate of this client that it knows (--cert, --key)`
  if (isSecure) return `${host} ended the connection in the TLS handshake: perhaps it does not speak TLS (then write ${protocol === 'wss:' ? 'ws' : 'mqtt'}://), or has no room`
  return speaksTls ? `${host} speaks TLS: write ${protocol === 'ws:' ? 'wss' : 'mqtts'}://` : null
}

/**
 * The certificate that is shown at a port; null where there is no TLS. Nothing is sent there but the handshake, and
 * nothing is believed: it is for words only.
 */
async function certificateAt ({ hostname, port, protocol }: URL): Promise<DetailedPeerCertificate | null> {
  const host = hostname.replace(/^\[|\]$/g, '')
  const usual = { 'mqtt:': 1_883, 'mqtts:': 8_883, 'ws:': 80, 'wss:': 443 }[protocol] ?? 0
  return await new Promise(resolve => {
    const socket = connect({ host, port: port === '' ? usual : Number(port), rejectUnauthorized: false, timeout: LOOK_WITHIN_MS })
    const end = (certificate: DetailedPeerCertificate | null): void => {
      resolve(certificate)
      socket.destroy()
    }
    socket.once('secureConnect', () => end(socket.getPeerCertificate(true))).once('timeout', () => end(null)).once('close', () => end(null)).on('error', () => end(null))
  })
}
