// Free ports of 127.0.0.1 that stay free: below those that the system gives to outgoing connections. One of these could be taken while
// its process is dead, and a client that tries it again and again would in the end be connected to itself.
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { OperatorError } from '../../shared/errors.js'

const LEAST = 10_000
/** Where the system does not tell where its own begin. */
const USUAL_FIRST_OF_SYSTEM = 32_768
const TRIES = 50

/** So many, one behind the other. */
export async function freePorts (count: number): Promise<number[]> {
  const end = firstOfSystem()
  for (let n = 0; n < TRIES; n++) {
    const first = randomInt(LEAST, end - count)
    const ports = Array.from({ length: count }, (_, i) => first + i)
    if ((await Promise.all(ports.map(isFree))).every(free => free)) return ports
  }
  throw new OperatorError('no_ports', `no ${count} free ports in a row were found between ${LEAST} and ${end}`)
}

function firstOfSystem (): number {
  const first = Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/)[0])
  return first > LEAST + 1_000 ? first : USUAL_FIRST_OF_SYSTEM
}

async function isFree (port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}
