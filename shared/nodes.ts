// Where the nodes of one parkmq are found: the payload of `cluster/nodes`, and what counts as a URL of one.
import { z } from 'zod'

/** Nodes that are read from one message. */
const MAX_NODES = 100
/** URLs that one node may have. */
export const MAX_NODE_URLS = 10
const MAX_URL_LENGTH = 300

/** Everybody may read it, so a user or a password in it would be known to all. */
export const NodeUrl = z.url({ protocol: /^(mqtts?|wss?)$/, error: 'must be mqtt://host:port, mqtts://, ws:// or wss://' }).max(MAX_URL_LENGTH)
  .refine(url => !/^[a-z]+:\/\/[^/]*@/.test(url), { error: 'must name no user: everybody may read it' })

export const NodeAddress = z.object({ node: z.string().min(1).max(64), urls: z.array(NodeUrl).max(MAX_NODE_URLS) })
export type NodeAddress = z.infer<typeof NodeAddress>

const NodeList = z.array(NodeAddress).max(MAX_NODES)

/** The nodes in a payload of `cluster/nodes`; null for what is none. */
export function parseNodes (payload: string): NodeAddress[] | null {
  try {
    const parsed = NodeList.safeParse(JSON.parse(payload))
    return parsed.success ? parsed.data : null
  } catch {
    return null
  }
}
