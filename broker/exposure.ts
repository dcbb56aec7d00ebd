// Whether the settings would open parkmq to a network without asking anybody who it is. Asked before anything is opened.
import { BlockList, isIP } from 'node:net'
import type { Config } from '../shared/config.js'
import { OperatorError } from '../shared/errors.js'
import { usersFileOf } from './users-file.js'

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** Whether only programs on this machine reach what listens there. */
export function isLoopback (host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true
  const family = isIP(host)
  // An IPv4 address that is written as IPv6 is found as well.
  return family !== 0 && loopback.check(host, family === 4 ? 'ipv4' : 'ipv6')
}

/**
 * Refuses to listen to a network while there are no users. Gives the words of a warning where that is asked for, else
 * null. Throws `OperatorError` (`bad_config`).
 */
export function checkExposure (config: Pick<Config, 'host' | 'users' | 'data' | 'broker' | 'allowAnonymous'>): string | null {
  const { host, allowAnonymous, broker } = config
  if (usersFileOf(config) !== null || broker !== undefined || isLoopback(host)) return null
  if (allowAnonymous) return `there are no users and allowAnonymous is on: whoever reaches ${host} may read everything, free and fill lots, and act as an operator`
  throw new OperatorError('bad_config', [
    `host is ${host}, which others can reach, and there are no users: anyone there could free or fill a lot. Choose one:`,
    '  make users with `parkmq user add NAME --role operator`, and name another file than the usual one with --users FILE',
    '  listen to this machine only: --host 127.0.0.1',
    '  let everybody in, with every right: --allow-anonymous'
  ].join('\n'))
}
