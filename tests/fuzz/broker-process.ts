// The broker that is fuzzed, as a process of its own, so that its end is seen and its memory is its own. It talks to the
// fuzzer by messages of the process: see target.ts. Run with --expose-gc.
import { startBroker } from './target.js'

const broker = await startBroker()

const answers: Record<string, () => Promise<unknown>> = {
  counts: () => broker.counts(),
  memory: () => broker.memory(),
  errors: async () => broker.errors(),
  stop: async () => {
    await broker.stop()
    setImmediate(() => process.disconnect())
  }
}

process.on('message', (question: { id: number, ask: string }) => {
  const answer = answers[question.ask]
  void answer?.().then(value => process.send?.({ id: question.id, value }))
})
// A fuzzer that is gone needs no broker.
process.on('disconnect', () => process.exit())
process.send?.({ id: 0, value: broker.ports })
