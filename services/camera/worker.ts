// A thread that opens pictures and looks at their bays, so that neither keeps the event loop of the server. It has the
// classifiers of all cameras and works on one picture at a time.
import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { messageOf } from '../../shared/errors.js'
import type { Id } from '../../shared/lot.js'
import { loadClassifier, readCameraConfig } from './camera-config.js'
import { FrameSizeError, type Classifier } from './classifier.js'
import { decodeFrame } from './frame.js'
import type { Look, Looked, WorkerSetup } from './look.js'

/** Where both want the processor: counts, requests and replies come first, and frames do not starve. */
const NICE = 10

const { files, limits } = workerData as WorkerSetup
const port = parentPort
if (port === null) throw new Error('worker.ts is for a thread of its own')

const classifiers = new Map<Id, Classifier>()
for (const file of files) {
  const config = await readCameraConfig(file)
  classifiers.set(config.camera, await loadClassifier(config))
}

async function look ({ camera, bytes }: Look): Promise<Looked> {
  const classifier = classifiers.get(camera)
  if (classifier === undefined) return { fault: `there is no classifier for ${camera}` }
  const decoded = await decodeFrame(bytes, limits)
  if (!decoded.ok) return { refusal: decoded.refusal }
  try {
    return { judgements: classifier.classify(decoded.frame) }
  } catch (error) {
    if (error instanceof FrameSizeError) return { refusal: { code: 'wrong_size', message: error.message } }
    throw error
  }
}

// Only Linux knows priorities of threads; elsewhere it would be the process's.
if (process.platform === 'linux') setPriority(NICE)

port.on('message', (asked: Look) => {
  look(asked).then(answer => port.postMessage(answer), (error: unknown) => port.postMessage({ fault: messageOf(error) } satisfies Looked))
})
port.postMessage('ready')
