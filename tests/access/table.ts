// Who may do what, written out by hand from the words of DESIGN.md section 4 and of the issue: what the matrix tests expect.
// It must never be made from shared/access.ts, or a mistake there would be expected here.

/** Where there are no users everybody is `local`; `nobody` does not say who it is where others do; `hub` is a device for all lots. */
export const SUBJECTS = ['local', 'nobody', 'display', 'driver', 'device', 'hub', 'operator', 'service'] as const
export type Subject = (typeof SUBJECTS)[number]

/** A topic that `{me}` and `{other}` stand in for the subject's own name and that of another user. */
export type Family = string

/**
 * p  may publish, by PUBLISH, with RETAIN and by a will
 * r  reads it
 * s  may subscribe, because a filter like it could bring something in other places, but nothing comes
 * .  nothing at all
 */
const TOPICS = `
                                   local  nobody  display  driver  device  hub  operator  service
  lots/LOT-A/sensor                pr     .       .        .       p       p    r         pr
  lots/LOT-B/sensor                pr     .       .        .       .       p    r         pr
  lots/LOT-A/free                  r      r       r        r       .       .    r         r
  lots/LOT-A/state                 r      r       r        r       .       .    r         r
  lots/LOT-A/bays/A-001            r      r       r        r       .       .    r         r
  lots/LOT-A/events                r      r       r        r       .       .    r         r
  requests/reserve                 ps     .       .        p       .       .    p         ps
  requests/lot.remove              ps     .       .        p       .       .    p         ps
  replies/{me}/1                   pr     .       .        r       .       .    r         pr
  replies/{me}                     pr     .       .        r       .       .    r         pr
  replies/{other}/1                pr     .       .        .       .       .    .         pr
  replies/{other}                  pr     .       .        .       .       .    .         pr
  cameras/{me}/frame               pr     .       .        .       p       p    r         pr
  cameras/{other}/frame            pr     .       .        .       .       .    r         pr
  cameras/{me}/status              pr     .       .        .       p       p    r         pr
  cameras/{other}/status           pr     .       .        .       .       .    r         pr
  sensors/{me}/status              pr     .       .        .       p       p    r         pr
  sensors/{other}/status           pr     .       .        .       .       .    r         pr
  services/occupancy/n1/status     r      r       r        r       .       .    r         r
  services/camera/n1/status        pr     r       r        r       .       .    r         pr
  $SYS/broker/uptime               r      .       .        .       .       .    r         r
  cluster/nodes                    r      r       r        r       r       r    r         r
  cluster/n1                       r      .       .        .       .       .    .         r
  some/thing                       pr     .       .        .       .       .    .         r
  lots/LOT-A                       pr     .       .        .       .       .    .         r
  lots/LOT-A/sensor/x              pr     .       .        .       .       .    .         r
  requests/a/b                     pr     .       .        .       .       .    .         r
`

/** y: granted; what comes is what the table above lets the subject read. `.`: refused, also as a shared subscription. */
const FILTERS = `
                                   local  nobody  display  driver  device  hub  operator  service
  #                                y      y       y        y       y       y    y         y
  +/#                              y      y       y        y       y       y    y         y
  +/+                              y      y       y        y       y       y    y         y
  +/+/+                            y      y       y        y       .       .    y         y
  +/+/+/+                          y      y       y        y       .       .    y         y
  +/+/status                       y      .       .        y       .       .    y         y
  +/{me}/+                         y      y       y        y       .       .    y         y
  +/{other}/1                      y      .       .        .       .       .    .         y
  lots/#                           y      y       y        y       .       .    y         y
  lots/+/+                         y      y       y        y       .       .    y         y
  lots/LOT-A/#                     y      y       y        y       .       .    y         y
  lots/+/sensor                    y      .       .        .       .       .    y         y
  lots/+/free                      y      y       y        y       .       .    y         y
  lots/+/bays/+                    y      y       y        y       .       .    y         y
  lots/+                           y      .       .        .       .       .    .         y
  requests/#                       y      .       .        .       .       .    .         y
  requests/+                       y      .       .        .       .       .    .         y
  +/reserve                        y      .       .        .       .       .    .         y
  replies/#                        y      .       .        y       .       .    y         y
  replies/+                        y      .       .        y       .       .    y         y
  replies/+/1                      y      .       .        y       .       .    y         y
  replies/{me}/#                   y      .       .        y       .       .    y         y
  replies/{other}/#                y      .       .        .       .       .    .         y
  cameras/#                        y      .       .        .       .       .    y         y
  cameras/+/frame                  y      .       .        .       .       .    y         y
  cameras/{me}/+                   y      .       .        .       .       .    y         y
  sensors/+/status                 y      .       .        .       .       .    y         y
  services/#                       y      y       y        y       .       .    y         y
  $SYS/#                           y      .       .        .       .       .    y         y
  +/broker/uptime                  y      .       .        .       .       .    .         y
  cluster/#                        y      y       y        y       y       y    y         y
  some/#                           y      .       .        .       .       .    .         y
`

/** y: replies may go there. Subjects that may make no request at all are left out. */
const RESPONSE_TOPICS = `
                                   local  driver  operator  service
  replies/{me}/1                   y      y       y         y
  replies/{me}/a/b                 y      y       y         y
  replies/{me}                     y      .       .         y
  replies/{me}x/1                  y      .       .         y
  replies/{other}/1                y      .       .         y
  replies/1                        y      .       .         y
  Replies/{me}/1                   y      .       .         y
  some/thing                       y      .       .         y
  lots/LOT-A/free                  .      .       .         .
  lots/LOT-A/sensor                .      .       .         .
  requests/reserve                 .      .       .         .
  cameras/{me}/frame               .      .       .         .
  sensors/{me}/status              .      .       .         .
  services/occupancy/n1/status     .      .       .         .
  cluster/n1                       .      .       .         .
  $SYS/broker/uptime               .      .       .         .
`

/** y: the method is for the role. Anything else of REQUESTS is the operators', the services' and the local ones'. */
export const DRIVERS_METHODS = [
  'lots', 'availability', 'reserve', 'book', 'change', 'extend', 'cancel', 'arrive', 'depart', 'get', 'list', 'wait', 'monitor', 'unmonitor',
  'quote', 'permits', 'permit', 'buyPermit', 'ping', 'info'
] as const

type Table = ReadonlyMap<string, ReadonlyMap<string, string>>

function parse (text: string): Table {
  const [head = '', ...lines] = text.trim().split('\n').map(line => line.trim())
  const columns = head.split(/\s+/)
  return new Map(lines.map(line => {
    const [name = '', ...cells] = line.split(/\s+/)
    if (cells.length !== columns.length) throw new Error(`${cells.length} cells instead of ${columns.length}: ${line}`)
    return [name, new Map(columns.map((column, at) => [column, cells[at] ?? '']))]
  }))
}

const TOPIC_TABLE = parse(TOPICS)
const FILTER_TABLE = parse(FILTERS)
const RESPONSE_TABLE = parse(RESPONSE_TOPICS)

/** Who the subject of a test is. */
export interface Names {
  readonly subject: Subject
  readonly me: string
  readonly other: string
}

export interface TopicRow {
  readonly topic: string
  readonly mayPublish: boolean
  readonly mayRead: boolean
  readonly maySubscribe: boolean
}

/** The rows of the topics for a subject, with the names in them. */
export function topicsFor (names: Names): TopicRow[] {
  return rowsOf(TOPIC_TABLE, names).map(([topic, cell]) => ({
    topic, mayPublish: cell.includes('p'), mayRead: cell.includes('r'), maySubscribe: /[rs]/.test(cell)
  }))
}

/** Every filter, those that are just a topic as well, and whether it is granted to the subject. */
export function filtersFor (names: Names): { filter: string, isGranted: boolean }[] {
  return [
    ...topicsFor(names).map(({ topic, maySubscribe }) => ({ filter: topic, isGranted: maySubscribe })),
    ...rowsOf(FILTER_TABLE, names).map(([filter, cell]) => ({ filter, isGranted: cell === 'y' }))
  ]
}

/** Response Topics, and whether replies to the subject may go there. */
export function responseTopicsFor (names: Names): { topic: string, isAllowed: boolean }[] {
  return rowsOf(RESPONSE_TABLE, names).map(([topic, cell]) => ({ topic, isAllowed: cell === 'y' }))
}

function rowsOf (table: Table, { subject, me, other }: Names): [string, string][] {
  return [...table].map(([name, cells]) => [name.replace('{me}', me).replace('{other}', other), cells.get(subject) ?? '.'])
}

/** Whether the broker hands the topic to a service when one is there: then nothing on it is ever retained. */
export function isTaken (topic: string): boolean {
  return /^lots\/[^/]+\/sensor$|^requests\/[^/]+$/.test(topic)
}

/** What MQTT says a filter matches (section 4.7), in the shortest way that is right: for tests, not for speed. */
export function isMatch (filter: string, topic: string): boolean {
  if (topic.startsWith('$') && /^[+#]/.test(filter)) return false
  const pattern = filter.split('/').map(level => level === '+' ? '[^/]*' : level === '#' ? '.*' : level.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('/')
  return new RegExp(`^${pattern}$`).test(topic) || (filter.endsWith('/#') && isMatch(filter.slice(0, -2), topic))
}
