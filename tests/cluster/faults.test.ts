// Guarantees 1 to 4 over a whole cluster: nodes, PostgreSQL with Patroni, etcd. Each part is killed, stopped or cut off under load of all
// nodes, and comes back. Gaps are printed and written down (CLUSTER_RESULTS=file), not judged: `parkmq bench cluster` measures them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { CutOffNode, partitionOf, whyNoNamespace } from '../../bench/cluster/cut-off-node.js'
import { FAULTS } from '../../bench/cluster/faults.js'
import { CLUSTER_SETTINGS } from '../../bench/cluster/load.js'
import { roundText, runRound, type Round } from '../../bench/cluster/round.js'
import { RunningCluster } from '../../bench/cluster/running-cluster.js'
import { PROGRAM } from '../support/process.js'
import { ABSENT, SKIPPED } from './support.js'

/** What the others do as well, or what takes half a minute and differs little from them. `parkmq bench cluster` has all. */
const IN_CI = ['node', 'primary', 'etcd', 'machine', 'node-zombie']
/** `CLUSTER_FAULTS=all`, or some of them: standby,primary-zombie */
const wanted = process.env.CLUSTER_FAULTS?.split(',') ?? IN_CI
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

  test.each(Object.entries(FAULTS).filter(([name]) => wanted.includes('all') || wanted.includes(name)))('%s: nothing acknowledged is lost, nothing is done twice, all show the same', { timeout: FAULT_MS }, async (name, fault) => {
    check(name, await runRound(cluster, fault))
  })

  const noNamespace = ABSENT === null ? whyNoNamespace() : null
  if (noNamespace !== null) process.stderr.write(`${noNamespace}: no node is cut off\n`)
  test.skipIf(noNamespace !== null)('a node is cut off from the database: the same', { timeout: FAULT_MS }, async () => {
    const node = await CutOffNode.start(cluster, { program: PROGRAM, settings })
    onTestFinished(() => node.close())
    check('partition', await runRound(cluster, partitionOf(node), [node.url]))
  })
})
