// `parkmq audit`: who did what, who came in and who was refused, and from where; read from a running parkmq page by page.
import type { Command } from 'commander'
import { z } from 'zod'
import { LoginRefusedError } from '../shared/mqtt-client.js'
import { AuditLine, firstIssue, type Reply, type RequestBody } from '../shared/schemas.js'
import { clientCommand, printReply, UsageError, wholeNumber, withService, type Call, type ClientOptions } from './client.js'
import { local, printable, table } from './table.js'

/** Lines in one reply: some hundred kilobytes at most. */
const PAGE = 500

interface AuditOptions extends ClientOptions {
  since: string
  until?: string
  lot?: string
  /** Whose lines are asked for; who asks is `login`. */
  user?: string
  login?: string
  limit: string
  after?: string
}

const Page = z.object({ entries: z.array(AuditLine), next: z.number().optional() })
type Page = z.infer<typeof Page>
type Body = Partial<RequestBody<'audit'>>

const HELP = `
Oldest first; --since and --until take a time such as 2026-11-21 or 2026-11-21T08:00 (your zone, unless it ends with Z or
an offset), or how long ago: 90s, 15m, 2h, 3d. What a user was refused and a wrong password for that name are lines of
that user as well: --user olga shows both. To log in as somebody, write --login.

What comes again and again within a minute is two lines: the first, and at the end how many more times. More different
ones than a minute has room for are only counted, as \`others\`.

Where there are users, only operators and services may read the audit. It is kept for times.auditMs (90 days).

Examples:
  parkmq audit --since 2h
  parkmq audit --lot LOT-A --since 2026-11-21T08:00 --until 2026-11-21T09:00
  parkmq audit --user olga --since 30d --login admin
  parkmq audit --since 1d --json | jq '.result.entries[] | select(.type == "login.refused")'`

export function auditCommand (): Command {
  return clientCommand('audit', 'list who did what, who logged in and who was refused (for operators)', '--login')
    .option('--since <time>', 'from this time on', '1d')
    .option('--until <time>', 'before this time')
    .option('--lot <lot>', 'only of this lot')
    .option('--user <name>', 'only of this user')
    .option('--limit <n>', 'at most so many', '1000')
    .option('--after <id>', 'the next page: those after the last of this one')
    .addHelpText('after', HELP)
    .action(async ({ login, user, ...options }: AuditOptions) => {
      const body = bodyOf({ ...options, ...(user !== undefined && { user }) }, Date.now())
      const asking: ClientOptions = { ...options, userFlag: '--login', ...(login !== undefined && { user: login }) }
      const limit = wholeNumber(options.limit, '--limit')
      if (limit < 1) throw new UsageError(`--limit ${limit} is less than one line`)
      const reply = await withService(asking, async call => await readPages(call, body, limit)).catch(explain)
      printReply<Page>(asking, reply, shown)
    })
}

/** Every other command logs in with --user. */
function explain (error: unknown): never {
  throw error instanceof LoginRefusedError ? new LoginRefusedError(`${error.message}; here --login names who logs in, and --user whose lines are asked for`, { cause: error }) : error
}

function bodyOf ({ since, until, lot, user, after }: Omit<AuditOptions, 'login'>, nowMs: number): Record<string, unknown> {
  return {
    since: timeOf(since, '--since', nowMs),
    ...(until !== undefined && { until: timeOf(until, '--until', nowMs) }),
    ...(lot !== undefined && { lot }),
    ...(user !== undefined && { user }),
    ...(after !== undefined && { after: wholeNumber(after, '--after') })
  } satisfies Partial<Record<keyof Body, unknown>>
}

const AGO_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 24 * 3_600_000 } as const
const TIME = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d)?)?$/

/** ISO 8601 of a time, or of how long ago it was at `nowMs`. Throws `UsageError`. */
export function timeOf (text: string, option: string, nowMs: number): string {
  const ago = /^(\d+)([smhd])$/.exec(text)
  // A day alone would be one of Greenwich.
  const ms = ago ? nowMs - Number(ago[1]) * AGO_MS[ago[2] as keyof typeof AGO_MS]
    : TIME.test(text) ? Date.parse(text.length === 10 ? `${text}T00:00` : text.replace(' ', 'T')) : NaN
  const time = new Date(ms)
  if (Number.isNaN(time.getTime()) || time.getUTCFullYear() < 1970) throw new UsageError(`${option} ${text} is not a time; write 2026-11-21T08:00, or how long ago: 15m, 2h, 3d`)
  return time.toISOString()
}

/** All pages up to `limit` lines as one reply; `next` is there if there may be more. The first refusal ends it. */
async function readPages (call: Call, body: Record<string, unknown>, limit: number): Promise<Reply> {
  const entries: AuditLine[] = []
  let from = body
  for (;;) {
    const reply = await call('audit', { ...from, limit: Math.min(PAGE, limit - entries.length) })
    if (!reply.ok) return reply
    const page = Page.safeParse(reply.result)
    if (!page.success) throw new Error(`the answer is not a part of the audit: ${firstIssue(page.error)}`)
    entries.push(...page.data.entries)
    const { next } = page.data
    if (next === undefined || entries.length >= limit) return { ok: true, result: { entries, ...(next !== undefined && { next }) } }
    from = { ...from, after: next }
  }
}

function shown ({ entries, next }: Page): string {
  if (entries.length === 0) return 'nothing happened that fits'
  const rows = entries.map(line => [local(line.at), line.type, line.who, line.address ?? null, line.lot ?? null, whatOf(line)].map(cell => cell === null ? null : printable(cell)))
  return table(['TIME', 'TYPE', 'WHO', 'ADDRESS', 'LOT', 'WHAT'], rows) + (next === undefined ? '' : `\nthere may be more: --after ${next}`)
}

/** In few words what was done: to what, from what to what, and why. */
function whatOf ({ reservation, sensor, before, after, why, who }: AuditLine): string {
  const times = fieldsOf(after)?.times
  const change = times === undefined ? changeOf(before, after) : `${wordOf(times)} ${who === 'others' ? '' : 'more '}times`
  return [reservation, sensor, why, change].filter(part => part !== undefined && part !== '').join(', ')
}

function changeOf (before: unknown, after: unknown): string {
  const [was, is] = [fieldsOf(before), fieldsOf(after)]
  if (was === null && is === null) return [before, after].filter(value => value !== undefined).map(wordOf).join(' -> ')
  const names = new Set([...Object.keys(was ?? {}), ...Object.keys(is ?? {})])
  return [...names].flatMap(name => {
    const values = [was?.[name], is?.[name]].filter(value => value !== undefined).map(wordOf)
    return was !== null && is !== null && values[0] === values[1] ? [] : [`${name} ${values.join(' -> ')}`]
  }).join(', ')
}

function fieldsOf (value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null ? value as Record<string, unknown> : null
}

function wordOf (value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
