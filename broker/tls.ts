// TLS of the listeners: reads and checks the certificate, shakes hands on the sockets that the listeners have admitted,
// and takes a renewed certificate without a restart. A client certificate that is not verified is never handed on.
import { createPrivateKey, constants, X509Certificate } from 'node:crypto'
import { watch, type FSWatcher } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { dirname } from 'node:path'
import { createSecureContext, createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls'
import type { Clock, Timer } from '../shared/clock.js'
import type { Config } from '../shared/config.js'
import { messageOf, OperatorError } from '../shared/errors.js'
import { every, type Repeating } from '../shared/every.js'
import type { Report } from './report.js'

/** A folder cannot always be watched (network drives, folders that are replaced): the files are read so often anyway, in milliseconds. */
const LOOK_EVERY_MS = 60_000
/** Certificate and key are two files: what happens to them within this time is one change, in milliseconds. */
const SETTLE_MS = 200

export type TlsSettings = NonNullable<Config['tls']>

/** What was read from the files, checked. */
export interface Certificates {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca: Buffer | null
  /** DNS names and addresses that the server's certificate is for, as in a URL. */
  readonly names: readonly string[]
  readonly endsAtMs: number
}

/**
 * Reads the files of `tls`. Throws `OperatorError` (`bad_certificate`) that names the file and the fix: not readable, not
 * PEM, a key that is not the certificate's, a certificate that has ended or not begun at `nowMs`.
 */
export async function readCertificates (tls: TlsSettings, nowMs: number): Promise<Certificates> {
  const [cert, key, ca] = await Promise.all([read(tls.cert, 'certificate', '--tls-cert'), read(tls.key, 'private key', '--tls-key'), tls.ca === undefined ? null : read(tls.ca, 'authority', '--tls-ca')])
  const server = certificateOf(cert, tls.cert, '--tls-cert')
  const privateKey = attempt(() => createPrivateKey(key), error => `${tls.key} is not a private key in PEM without a passphrase (${messageOf(error)}): name another with --tls-key, or take the passphrase off with \`openssl pkey\``)
  if (!server.checkPrivateKey(privateKey)) throw bad(`the private key ${tls.key} is not that of the certificate ${tls.cert}: name the two that belong together with --tls-cert and --tls-key`)
  const [fromMs, endsAtMs] = [Date.parse(server.validFrom), Date.parse(server.validTo)]
  if (endsAtMs <= nowMs) throw bad(`the certificate ${tls.cert} ended at ${new Date(endsAtMs).toISOString()}: renew it`)
  if (fromMs > nowMs) throw bad(`the certificate ${tls.cert} is valid only from ${new Date(fromMs).toISOString()}: check the clock of this machine`)
  if (ca !== null && tls.ca !== undefined) certificateOf(ca, tls.ca, '--tls-ca')
  // What OpenSSL alone refuses: a key too short, an intermediate certificate that is none.
  attempt(() => createSecureContext(contextOptions({ cert, key, ca })), error => `TLS cannot use ${tls.cert} with ${tls.key}${tls.ca === undefined ? '' : ` and ${tls.ca}`}: ${messageOf(error)}`)
  return { cert, key, ca, names: namesOf(server), endsAtMs }
}

async function read (path: string, what: string, flag: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (cause) {
    throw bad(`cannot read the ${what} file ${path}: ${messageOf(cause)}; name another with ${flag} or let this user read it`, cause)
  }
}

function certificateOf (pem: Buffer, path: string, flag: string): X509Certificate {
  return attempt(() => new X509Certificate(pem), error => `${path} is not a certificate in PEM (${messageOf(error)}): name another file with ${flag}`)
}

function attempt<T> (action: () => T, words: (error: unknown) => string): T {
  try {
    return action()
  } catch (error) {
    throw bad(words(error), error)
  }
}

function bad (message: string, cause?: unknown): OperatorError {
  return new OperatorError('bad_certificate', message, { cause })
}

/** Without alternative names there is nothing that a client would find its URL in. */
function namesOf ({ subjectAltName }: X509Certificate): string[] {
  return (subjectAltName ?? '').split(', ').flatMap(entry => /^(?:DNS|IP Address):(.+)$/.exec(entry)?.[1] ?? [])
}

function contextOptions ({ cert, key, ca }: Pick<Certificates, 'cert' | 'key' | 'ca'>): TlsOptions {
  return {
    cert, key, ...(ca !== null && { ca }), minVersion: 'TLSv1.2',
    // A client that negotiates again and again would make the server compute, and no MQTT client needs to.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION
  }
}

export interface TlsParts {
  readonly settings: TlsSettings
  readonly clock: Clock
  readonly report: Report
  /** Longest handshake, in milliseconds. */
  readonly handshakeMs: number
}

/** Takes a socket over when its handshake is done; `certificateName` is the subject's common name of a verified certificate. */
export type OnSecure = (socket: TLSSocket, certificateName: string | undefined) => void

export class Tls {
  readonly #parts: TlsParts
  readonly #servers: Server[] = []
  /** Sockets whose handshake goes on. */
  readonly #shaking = new Map<string, Socket>()
  readonly #watchers: FSWatcher[] = []
  #certificates: Certificates
  #settling: Timer | null = null
  #looking: Promise<void> = Promise.resolve()
  readonly #poll: Repeating
  /** What is wrong with the files now, told once. */
  #fault: string | null = null

  private constructor (parts: TlsParts, certificates: Certificates) {
    this.#parts = parts
    this.#certificates = certificates
    this.#poll = every(LOOK_EVERY_MS, 'look for a renewed certificate', parts.clock, parts.report.log, () => this.#look())
    this.#watch()
  }

  /** Throws `OperatorError` as `readCertificates` does. */
  static async open (parts: TlsParts): Promise<Tls> {
    return new Tls(parts, await readCertificates(parts.settings, parts.clock.nowMs()))
  }

  /** Gives the function that shakes hands on a socket; failures are counted and logged, and the socket is closed. */
  door (onSecure: OnSecure): (socket: Socket) => void {
    const { report, settings, handshakeMs } = this.#parts
    const mode = settings.clientCertificates ?? (settings.ca === undefined ? 'none' : 'optional')
    const server = createServer({ ...contextOptions(this.#certificates), handshakeTimeout: handshakeMs, requestCert: mode !== 'none', rejectUnauthorized: mode === 'required' })
    server.on('secureConnection', socket => {
      // Node tells it of the TLS socket only; ports and addresses are those of the socket below.
      this.#shaking.delete(keyOf(socket))
      onSecure(socket, this.#certificateNameOf(socket))
    })
    server.on('tlsClientError', (error, socket) => {
      report.broken({ clientId: null, address: socket.remoteAddress ?? 'unknown' }, explained(error))
      // After a handshake that takes too long Node leaves the socket open.
      socket.destroy()
    })
    this.#servers.push(server)
    return socket => {
      const key = keyOf(socket)
      this.#shaking.set(key, socket)
      socket.once('close', () => { if (this.#shaking.get(key) === socket) this.#shaking.delete(key) })
      server.emit('connection', socket)
    }
  }

  /** Looks at the files no more, and closes what has not finished its handshake. Other sockets go on. */
  async stop (): Promise<void> {
    for (const socket of this.#shaking.values()) socket.destroy()
    this.#settling?.cancel()
    for (const watcher of this.#watchers) watcher.close()
    await this.#poll.stop()
    await this.#looking
  }

  #certificateNameOf (socket: TLSSocket): string | undefined {
    if (!socket.authorized) {
      // `authorizationError` is also set when no certificate was shown.
      if (socket.getPeerX509Certificate() !== undefined) {
        this.#parts.report.broken({ clientId: null, address: socket.remoteAddress ?? 'unknown' }, `a client's certificate is not believed (${String(socket.authorizationError)}); it must be signed by an authority in ${this.#parts.settings.ca ?? 'tls.ca'} and not have ended`)
      }
      return undefined
    }
    // A subject with several common names gives a list, which names nobody.
    const name: unknown = socket.getPeerCertificate().subject?.CN
    return typeof name === 'string' && name !== '' ? name : undefined
  }

  #watch (): void {
    const { cert, key, ca } = this.#parts.settings
    const changed = (): void => {
      this.#settling?.cancel()
      this.#settling = this.#parts.clock.after(SETTLE_MS, () => { this.#looking = this.#looking.then(() => this.#look()) })
    }
    // The folder, because a renewed file mostly takes the place of the old one.
    for (const folder of new Set([cert, key, ...(ca === undefined ? [] : [ca])].map(path => dirname(path)))) {
      try {
        this.#watchers.push(watch(folder, { persistent: false }, changed).on('error', error => this.#cannotWatch(folder, error)))
      } catch (error) {
        this.#cannotWatch(folder, error)
      }
    }
  }

  #cannotWatch (folder: string, err: unknown): void {
    this.#parts.report.log.debug({ err, folder }, 'the folder cannot be watched; a renewed certificate is noticed within a minute')
  }

  async #look (): Promise<void> {
    const { settings, clock, report: { log } } = this.#parts
    const file = settings.cert
    try {
      const found = await readCertificates(settings, clock.nowMs())
      const isNew = !isSame(found, this.#certificates)
      if (isNew) {
        this.#certificates = found
        // The tickets of earlier sessions end with the old context, and so does what they say of client certificates.
        for (const server of this.#servers) server.setSecureContext(contextOptions(found))
      }
      if (isNew || this.#fault !== null) log.info({ file, names: found.names, until: new Date(found.endsAtMs).toISOString() }, isNew ? 'the certificate is renewed' : 'the certificate can be read again')
      this.#fault = null
    } catch (error) {
      const fault = messageOf(error)
      if (fault !== this.#fault) log.error({ file }, `the certificate is not renewed, the one before stays in use: ${fault}`)
      this.#fault = fault
    }
  }
}

function keyOf ({ localPort, remoteAddress, remotePort }: Socket): string {
  return `${localPort} ${remoteAddress} ${remotePort}`
}

function isSame (a: Certificates, b: Certificates): boolean {
  return a.cert.equals(b.cert) && a.key.equals(b.key) && (a.ca === null || b.ca === null ? a.ca === b.ca : a.ca.equals(b.ca))
}

/** What an operator can do something about, in the place of OpenSSL's own words. */
function explained (error: NodeJS.ErrnoException & { reason?: string }): Error {
  const words = wordsOf(error)
  return words === null ? error : Object.assign(new Error(words, { cause: error }), { code: error.code })
}

function wordsOf ({ code = '', reason }: NodeJS.ErrnoException & { reason?: string }): string | null {
  switch (code) {
    case 'ERR_SSL_WRONG_VERSION_NUMBER': return 'a client does not speak TLS: it must use mqtts:// or wss:// here'
    case 'ERR_SSL_HTTP_REQUEST': return 'a client speaks HTTP or ws:// without TLS: it must use wss:// here'
    case 'ERR_SSL_UNSUPPORTED_PROTOCOL': return 'a client speaks a TLS older than 1.2'
    case 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE': return 'a client has no certificate, and tls.clientCertificates is required'
    case 'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA': return 'a client does not believe the certificate: it must be given its authority (--ca)'
    case 'ERR_TLS_HANDSHAKE_TIMEOUT': return 'a client did not finish the TLS handshake in time (limits.connectTimeoutMs)'
    default: return reason === undefined ? null : `the TLS handshake failed: ${reason}`
  }
}
