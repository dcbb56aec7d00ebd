// The settings of one Patroni and its PostgreSQL, for one machine or several. What is under `bootstrap.dcs` and `initdb` counts when
// the first member makes the database; later `patronictl edit-config` changes it.

export interface DatabaseMember {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly restPort: number
}

export interface PatroniParts {
  readonly scope: string
  readonly member: DatabaseMember
  /** `host:port` of all etcd members. */
  readonly etcd: readonly string[]
  /** The folder of the database; that around it is for Patroni's own files, and its user must own both. */
  readonly data: string
  readonly passFile: string
  /** PostgreSQL's programs. */
  readonly programs: string
  /** From where its users may log in, such as 127.0.0.1/32. */
  readonly network: string
  readonly passwords: { readonly postgres: string, readonly replicator: string }
}

/** Seconds without a word of the primary's Patroni after which another takes over. Patroni takes no less. */
export const TTL_SECONDS = 20

export function patroniSettings ({ scope, member: { name, host, port, restPort }, etcd, data, passFile, programs, network, passwords }: PatroniParts): Record<string, unknown> {
  return {
    scope,
    name,
    restapi: { listen: `${host}:${restPort}`, connect_address: `${host}:${restPort}` },
    // Not `etcd3`: Patroni 3.0.2 reads there what the nearest member believes, and a primary that comes back from a cut cable then overwrites the
    // lock of the one that was made meanwhile (docs/cluster.md).
    etcd: { hosts: etcd },
    bootstrap: {
      dcs: {
        ttl: TTL_SECONDS,
        loop_wait: 2,
        retry_timeout: 5,
        maximum_lag_on_failover: 1_048_576,
        // A primary that dies is not started again first: a standby takes over at once.
        primary_start_timeout: 0,
        // What is acknowledged is on two machines. With no standby left, on one: otherwise the last one could take nothing.
        synchronous_mode: true,
        synchronous_mode_strict: false,
        postgresql: {
          use_pg_rewind: true,
          use_slots: true,
          parameters: {
            max_connections: 100,
            shared_buffers: '32MB',
            wal_log_hints: 'on',
            // On disk at the standby, not yet to be read there: nobody reads a standby.
            synchronous_commit: 'on',
            unix_socket_directories: ''
          }
        }
      },
      initdb: [{ encoding: 'UTF8' }, { locale: 'C' }, { 'auth-host': 'scram-sha-256' }, 'data-checksums'],
      pg_hba: [`host all all ${network} scram-sha-256`, `host replication replicator ${network} scram-sha-256`]
    },
    postgresql: {
      listen: `${host}:${port}`,
      connect_address: `${host}:${port}`,
      data_dir: data,
      bin_dir: programs,
      pgpass: passFile,
      authentication: {
        superuser: { username: 'postgres', password: passwords.postgres },
        replication: { username: 'replicator', password: passwords.replicator }
      },
      // An old primary that cannot be rewound is copied anew.
      remove_data_directory_on_rewind_failure: true,
      remove_data_directory_on_diverged_timelines: true
    },
    watchdog: { mode: 'off' }
  }
}
