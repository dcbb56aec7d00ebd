// The linter's import rules must be able to fail: each forbidden import is refused, each allowed one passes.
import { fileURLToPath } from 'node:url'
import { ESLint } from 'eslint'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const eslint = new ESLint({ cwd: root, overrideConfig: [{ files: ['**/*.ts'], languageOptions: { parserOptions: { projectService: false, project: null } } }], ruleFilter: ({ ruleId }) => ruleId.startsWith('no-restricted') })

async function refusals (file: string, code: string): Promise<string[]> {
  const [result] = await eslint.lintText(code, { filePath: `${root}/${file}` })
  return result?.messages.map(message => message.ruleId ?? message.message) ?? []
}

test.each([
  ['services/occupancy/service.ts', 'import \'../reservation/core.js\''],
  ['services/occupancy/service.ts', 'import \'../../broker/index.js\''],
  ['services/reservation/service.ts', 'import \'../occupancy/core.js\''],
  ['services/reservation/core.ts', 'import { z } from \'zod\''],
  ['services/reservation/core.ts', 'import \'node:crypto\''],
  ['services/reservation/core.ts', 'import { NewLot } from \'../../shared/schemas.js\''],
  ['services/occupancy/core.ts', 'import \'../../storage/ledger.js\''],
  ['services/occupancy/core.ts', 'export const at = Date.now()'],
  ['services/occupancy/core.ts', 'export const dice = Math.random()'],
  ['shared/lot.ts', 'import \'../storage/ledger.js\''],
  ['broker/bus.ts', 'import \'../storage/ledger.js\''],
  ['storage/ledger.ts', 'import \'../services/occupancy/core.js\''],
  ['storage/ledger.ts', 'import \'../cli/app.js\''],
  ['storage/ledger.ts', 'import \'../bench/command.js\''],
  ['services/occupancy/service.ts', 'import \'../../bench/command.js\''],
  ['broker/bus.ts', 'import \'../bench/command.js\''],
  ['shared/lot.ts', 'import \'../bench/command.js\''],
  ['bench/report/write.ts', 'import \'../../cli/app.js\''],
  ['cli/bench.ts', 'import \'../tests/support/app.js\''],
  ['broker/bus.ts', 'export const home = process.env.HOME'],
  ['services/occupancy/service.ts', 'process.exit(1)']
])('%s may not: %s', async (file, code) => {
  expect((await refusals(file, code)).filter(rule => rule.startsWith('no-restricted'))).toHaveLength(1)
})

test.each([
  ['services/occupancy/service.ts', 'import \'../../storage/ledger.js\'\nimport \'../../shared/bus.js\'\nimport \'./core.js\''],
  ['services/reservation/core.ts', 'import { freePlaces } from \'../../shared/lot.js\'\nimport type { NewLot } from \'../../shared/schemas.js\'\nimport { fits } from \'./windows.js\''],
  ['cli/app.ts', 'import \'../broker/index.js\'\nimport \'../services/occupancy/service.js\''],
  ['cli/bench.ts', 'import \'../bench/command.js\''],
  ['bench/processes.ts', 'import \'../shared/config.js\'\nimport \'../broker/password.js\'\nimport \'../shared/random.js\'\nimport \'../storage/open.js\''],
  ['shared/config.ts', 'export const home = process.env.HOME']
])('%s may: %s', async (file, code) => {
  expect(await refusals(file, code)).toEqual([])
})
