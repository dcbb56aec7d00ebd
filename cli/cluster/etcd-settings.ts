// The settings of one etcd member (`etcd --config-file`), for one machine or several.

export interface EtcdMember {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly peerPort: number
}

export interface EtcdParts {
  readonly member: EtcdMember
  /** All of them, this one too. */
  readonly members: readonly EtcdMember[]
  readonly data: string
  /** The same for all members, another for each cluster. */
  readonly token: string
}

export function etcdSettings ({ member: { name, host, port, peerPort }, members, data, token }: EtcdParts): Record<string, unknown> {
  return {
    name,
    'data-dir': data,
    'listen-client-urls': `http://${host}:${port}`,
    'advertise-client-urls': `http://${host}:${port}`,
    'listen-peer-urls': `http://${host}:${peerPort}`,
    'initial-advertise-peer-urls': `http://${host}:${peerPort}`,
    'initial-cluster': members.map(one => `${one.name}=http://${one.host}:${one.peerPort}`).join(','),
    'initial-cluster-token': token,
    'initial-cluster-state': 'new',
    // Patroni uses the older interface (patroni-settings.ts); `status` asks by the newer one, which a file of settings leaves off in etcd 3.4.
    'enable-v2': true,
    'enable-grpc-gateway': true,
    // A member that comes back does not force an election.
    'pre-vote': true,
    logger: 'zap',
    'log-outputs': ['stderr'],
    'log-level': 'warn'
  }
}
