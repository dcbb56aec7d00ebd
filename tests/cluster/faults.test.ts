// Guarantees 1 to 4 over a whole cluster: nodes, PostgreSQL with Patroni, etcd. Each part is killed, stopped or cut off under load of all
// nodes, and comes back. Gaps are printed and written down (CLUSTER_RESULTS=file), not judged: `parkmq bench cluster` measures them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { whyNoNamespace } from '../../bench/cluster/cut-off-node.js'
import { FAULTS } from '../../bench/cluster/faults.js'
import { CLUSTER_SETTINGS, FULL } from '../../bench/cluster/load.js'
import { roundText, runRound, type Round } from '../../bench/cluster/round.js'
import { RunningCluster } from '../../bench/cluster/running-cluster.js'
import { PROGRAM } from '../support/process.js'
import { ABSENT, SKIPPED } from './support.js'

/** `CLUSTER_FAULTS=node,primary`: only these. */
const wanted = process.env.CLUSTER_FAULTS?.split(',') ?? Object.keys(FAULTS)
const FAULT_MS = 180_000

describe.skipIf(ABSENT !== null)(`a cluster under load${SKIPPED}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'parkmq-test-'))
  const settings = join(folder, 'settings.json')
  let cluster: RunningCluster
  const rounds: Record<string, Round> = {}

  beforeAll(async () => {
    writeFileSync(settings, JSON.stringify(CLUSTER_SETTINGS))
    cluster = await RunningCluster.up({ program: PROGRAM, settings })
  }, 120_000)
  afterAll(async () => {
    await cluster.down()
    rmSync(folder, { recursive: true })
    const file = process.env.CLUSTER_RESULTS
    if (file !== undefined) writeFileSync(file, `${JSON.stringify(rounds, null, 1)}\n`)
  }, 60_000)

  const check = (name: string, round: Round): void => {
    process.stdout.write(`${roundText(name, round)}\n`)
    rounds[name] = round
    expect(round.wrong).toEqual([])
    // There was a load, or this proves nothing.
    expect(round.acknowledged).toBeGreaterThan(500)
    expect(round.reservations).toBeGreaterThan(20)
  }

  const noNamespace = ABSENT === null ? whyNoNamespace() : null
  if (noNamespace !== null) process.stderr.write(`${noNamespace}: no node is cut off\n`)
  for (const [name, fault] of Object.entries(FAULTS).filter(([name]) => wanted.includes(name))) {
    test.skipIf(fault.wantsCutOff && noNamespace !== null)(`${name}: nothing acknowledged is lost, nothing is done twice, all show the same`, { timeout: FAULT_MS }, async () => {
      check(name, await runRound(cluster, fault, FULL, { program: PROGRAM, settings }))
    })
  }
})
