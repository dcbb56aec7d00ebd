// A process that opens pictures and looks at their bays. It has the classifiers of all cameras and works on one picture at a
// time. A process and not a thread: a picture that breaks the decoder, which is native code, takes no server with it, and the
// decoder's own threads have the low priority as well.
import { setPriority } from 'node:os'
import { messageOf } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { loadClassifier, readCameraConfig } from './camera-config.js'
import { FrameSizeError, type Classifier } from './classifier.js'
import { decodeFrame, type FrameLimits } from './frame.js'
import type { Asked, Look, Looked, Said, WorkerSetup } from './look.js'

/** The least that there is: with 10, sensors and requests waited 1.4 times as long at the 95th percentile beside 20 frames/s. */
const NICE = 19

const classifiers = new Map<Id, Classifier>()
let limits: FrameLimits | null = null

async function setUp ({ files, limits: given }: WorkerSetup): Promise<Said> {
  for (const file of files) {
    const config = await readCameraConfig(file)
    classifiers.set(config.camera, await loadClassifier(config))
  }
  limits = given
  return { type: 'ready' }
}

async function look ({ camera, bytes }: Look): Promise<Looked> {
  const classifier = classifiers.get(camera)
  if (classifier === undefined || limits === null) return { fault: `there is no classifier for ${camera}` }
  const decoded = await decodeFrame(bytes, limits)
  if (!decoded.ok) return { refusal: decoded.refusal }
  try {
    return { judgements: classifier.classify(decoded.frame) }
  } catch (error) {
    if (error instanceof FrameSizeError) return { refusal: { code: 'wrong_size', message: error.message } }
    throw error
  }
}

async function answer (asked: Asked): Promise<Said> {
  return asked.type === 'setup' ? await setUp(asked.setup) : { type: 'looked', looked: await look(asked.look) }
}

// Before the first picture: threads have the priority of the thread that starts them.
setPriority(NICE)
// A Ctrl-C reaches the whole group of processes; the server ends this one when it has no more use for it.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => {})
process.on('message', (asked: Asked) => {
  answer(asked).then(said => process.send?.(said), (error: unknown) => process.send?.({ type: 'failed', why: messageOf(error) } satisfies Said))
})
