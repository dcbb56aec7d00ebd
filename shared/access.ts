// Who may do what with which topic: one table, and the pure decisions that follow from it. What is not in the table is
// not allowed.

/** `local` is whoever connects where there are no users at all: parkmq then listens to this machine only. */
export const ROLES = ['device', 'driver', 'display', 'operator', 'service'] as const
export type Role = (typeof ROLES)[number] | 'local'

/** Who a connection belongs to. */
export interface Identity {
  /** Null for whoever did not say who it is. */
  readonly user: string | null
  readonly role: Role
  /** Lots that a device speaks for; `*` for all. */
  readonly lots: readonly string[]
}

/** Where there are no users, nobody is asked who it is. */
export const LOCAL: Identity = { user: null, role: 'local', lots: [] }

/** Whoever does not say who it is where there are users, if that is allowed at all. */
export const ANONYMOUS: Identity = { user: null, role: 'display', lots: [] }

export interface Rights {
  readonly publish: readonly string[]
  readonly read: readonly string[]
  /** Methods on `requests/{method}`. */
  readonly methods: readonly string[] | 'all'
  /** Whose reservations `list` shows: the user's own, or everybody's. */
  readonly lists: 'own' | 'all'
  /** Whether it may get, cancel, arrive and depart what is another's without showing the secret. */
  readonly actsForOthers: boolean
}

/** What everybody may know. Plates and secrets are never on these topics. */
const PUBLIC = ['lots/+/free', 'lots/+/state', 'lots/+/bays/+', 'lots/+/events', 'services/+/+/status', 'cluster/nodes']

/**
 * Topic patterns by role. `{user}` stands for the user's own name and `{lot}` for each lot of a device. Topics that only
 * parkmq itself writes (shared/topics.ts) are nobody's to publish on, whatever stands here.
 */
export const ACCESS: Readonly<Record<Role, Rights>> = {
  device: {
    publish: ['lots/{lot}/sensor', 'sensors/{user}/status', 'cameras/{user}/status', 'cameras/{user}/frame'],
    // Where it can go when its node is lost.
    read: ['cluster/nodes'],
    methods: [],
    lists: 'own',
    actsForOthers: false
  },
  driver: {
    publish: ['requests/+'],
    read: [...PUBLIC, 'replies/{user}/#'],
    methods: [
      'lots', 'availability', 'reserve', 'book', 'change', 'extend', 'cancel', 'arrive', 'depart', 'get', 'list', 'wait',
      'monitor', 'unmonitor', 'quote', 'permits', 'permit', 'buyPermit', 'ping', 'info'
    ],
    lists: 'own',
    actsForOthers: false
  },
  display: { publish: [], read: PUBLIC, methods: [], lists: 'own', actsForOthers: false },
  operator: {
    publish: ['requests/+'],
    read: [...PUBLIC, 'replies/{user}/#', 'lots/+/sensor', 'sensors/+/status', 'cameras/+/status', 'cameras/+/frame', '$SYS/#'],
    methods: 'all',
    lists: 'all',
    actsForOthers: true
  },
  service: {
    publish: ['requests/+', 'lots/+/sensor', 'sensors/+/status', 'cameras/+/status', 'cameras/+/frame', 'services/camera/+/status', 'replies/#'],
    read: ['#', '$SYS/#'],
    methods: 'all',
    lists: 'all',
    actsForOthers: true
  },
  local: { publish: ['#'], read: ['#', '$SYS/#'], methods: 'all', lists: 'all', actsForOthers: false }
}

/** The patterns of a role with the names of this user and the lots of this device in them. */
export function patternsOf ({ user, role, lots }: Identity, what: 'publish' | 'read'): string[] {
  return ACCESS[role][what].flatMap(pattern => {
    if (pattern.includes('{user}')) return user === null ? [] : [pattern.replace('{user}', user)]
    if (pattern.includes('{lot}')) return lots.map(lot => pattern.replace('{lot}', lot === '*' ? '+' : lot))
    return [pattern]
  })
}

/** Whether a request with this method is for this role. */
export function mayCall (role: Role, method: string): boolean {
  const { methods } = ACCESS[role]
  return methods === 'all' || methods.includes(method)
}

/**
 * Whether a device of this name may speak as this sensor: under its own name, or under one that begins with it and a dot,
 * for a gateway with several sensors behind it.
 */
export function maySpeakAs (user: string, sensor: string): boolean {
  return sensor === user || sensor.startsWith(`${user}.`)
}

/** What the topics begin with that replies to this identity may go to; null where any that is nobody's will do. */
export function replyBaseOf ({ user, role }: Identity): string | null {
  return user === null || role === 'service' ? null : `replies/${user}/`
}
