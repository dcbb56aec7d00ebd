// Takes away the retained messages that fuzzing clients have left, so that what the broker still holds afterwards is a
// leak and nothing else.
import { plainConnect } from './packets.js'
import { Client } from './client.js'
import { packed, string, uint16 } from './drafts.js'
import type { Announced } from './judge.js'
import { randomOf } from './life.js'
import type { Ports } from './peer.js'

/** Rounds of clearing before it is taken for a fault. */
const MOST_ROUNDS = 20

/** Resolves when no retained message is left but those of the services. Throws when some cannot be cleared. */
export async function sweepRetained (ports: Ports, announced: Announced): Promise<void> {
  for (let round = 0; round < MOST_ROUNDS; round++) {
    if (await sweepOnce(ports, announced) === 0) return
  }
  throw new Error(`retained messages come back after ${MOST_ROUNDS} rounds of clearing`)
}

/** How many were cleared. */
async function sweepOnce (ports: Ports, announced: Announced): Promise<number> {
  const topics = new Set<string>()
  const client = await Client.open({
    ports, announced, transport: 'tcp', habit: 'at once', random: randomOf(0, 0),
    onPublish: ({ flags, topic }) => {
      if (flags & 1 && !isServices(topic)) topics.add(topic)
    }
  })
  try {
    client.say(plainConnect(5, 'sweeper'))
    await client.until(() => client.isIn, () => 'CONNACK')
    client.say(packed({ first: 0x82, head: [uint16(1)], properties: [], tail: [string('#'), Buffer.from([0])] }))
    await client.settle()
    let id = 2
    for (const topic of topics) {
      client.say(packed({ first: 0x33, head: [string(topic), uint16(id++)], properties: [], tail: [] }))
    }
    await client.settle()
    client.say(Buffer.from([0xe0, 0]))
    client.end()
    await client.until(() => client.ended, () => 'the end of the sweep')
    return topics.size
  } finally {
    client.destroy()
  }
}

function isServices (topic: string): boolean {
  return /^(lots\/[^/]+\/(free|state|bays|events)|services\/|\$SYS\/)/.test(topic)
}
