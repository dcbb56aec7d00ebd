// docs/errors.md and docs/settings.md are made from the code: `npx vitest run tests/docs -u` makes them again.
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { z } from 'zod'
import { Config, VARIABLES } from '../../shared/config.js'
import { ERRORS } from '../../shared/errors.js'

const docs = (name: string): string => fileURLToPath(new URL(`../../docs/${name}`, import.meta.url))
const MADE_BY = (from: string): string => `<!-- Made from ${from} by \`npx vitest run tests/docs -u\`. -->\n`

test('docs/errors.md lists every code and no other', async () => {
  const rows = Object.entries(ERRORS).map(([code, { meaning, action }]) => `| \`${code}\` | ${meaning} | ${action} |`)
  const text = `${MADE_BY('shared/errors.ts')}# Error codes\n
A code is stable: it is never renamed and never used for something else. The message beside it names the value and the fix.\n
| code | meaning | what to do |\n|---|---|---|\n${rows.join('\n')}\n`
  await expect(text).toMatchFileSnapshot(docs('errors.md'))
})

test('docs/settings.md lists every setting with its default', async () => {
  const defaults = Config.parse({})
  const variable = new Map(Object.entries(VARIABLES).map(([name, key]) => [key as string, name]))
  const rows = (shape: Record<string, z.ZodType>, values: Record<string, unknown>, prefix = ''): string[] => Object.entries(shape).flatMap(([key, type]) => {
    const value = values[key]
    if (prefix === '' && (key === 'limits' || key === 'times' || key === 'tls' || key === 'brokerTls')) return rows(Config.shape[key].unwrap().shape, (value ?? {}) as Record<string, unknown>, `${key}.`)
    const shown = Array.isArray(value) ? (value as { lot?: string, permit?: string }[]).map(({ lot, permit }) => lot ?? permit).join(', ') : value === undefined ? 'none' : JSON.stringify(value)
    return [`| \`${prefix}${key}\` | ${shown} | ${type.description ?? ''} | ${variable.has(`${prefix}${key}`) ? `\`${variable.get(`${prefix}${key}`)}\`` : ''} |`]
  })
  const text = `${MADE_BY('shared/config.ts')}# Settings\n
A config file is YAML or JSON with these names; \`times\` and \`limits\` are tables in it. \`PARKMQ_*\` variables win over the file, flags of
\`parkmq start\` over both. \`PARKMQ_CONFIG\` names the file. A wrong or unknown setting stops the start and is named. \`parkmq doctor\`
prints what is in force and where it comes from. Times are milliseconds.\n
| setting | default | meaning | variable |\n|---|---|---|---|\n${rows(Config.shape, defaults).join('\n')}\n
A lot: \`{lot, name?, capacity, occupied?, buffer?, counting?, bays?, baysCover?, timeZone?, tariff?, open?}\`, as in the request \`lot.add\`.
A tariff: \`{intervalMinutes, intervalCents, freeMinutes?, dayCapCents?}\`. A permit: \`{permit, name, priceCents, stock}\`; \`stock\` is how many may be
sold in all, so raising it makes more available.\n
\`\`\`yaml
port: 1884
times: { staleAfterMs: 600000 }
timeZone: Europe/Berlin
tariffs:
  standard: { intervalMinutes: 60, intervalCents: 200, freeMinutes: 15, dayCapCents: 1500 }
  harbour: { intervalMinutes: 30, intervalCents: 150 }
permits:
  - { permit: MONTH, name: One month, priceCents: 9000, stock: 50 }
lots:
  - { lot: HARBOUR, name: Harbour, capacity: 60, occupied: 12, tariff: harbour }
  - { lot: ROOF, capacity: 3, bays: [R-1, R-2, R-3], baysCover: true }
\`\`\`\n`
  for (const line of text.split('\n')) expect(line).not.toMatch(/\|\s+\|\s*\|/)
  await expect(text).toMatchFileSnapshot(docs('settings.md'))
})
