// Real frames from a folder, in the order of their times: PKLot names each file by its time (2013-02-24_10_05_04.jpg), with an
// XML of the same name beside it. Labels as `--write` makes them are taken as well; a frame without any has no known truth.
import { readdir, readFile } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { XMLParser } from 'fast-xml-parser'
import { z } from 'zod'
import { messageOf, OperatorError } from '../../shared/errors.js'
import { firstIssue, Id } from '../../shared/schemas.js'
import { Label, type FrameSource, type Shot } from './frames.js'

const CONTENT_TYPES: Readonly<Record<string, Shot['contentType']>> = { '.jpg': 'image/jpeg', '.jpeg': 'image/jpeg', '.png': 'image/png' }
const MAX_FILES = 200_000

const coordinate = z.coerce.number()
const Space = z.object({
  id: z.string().pipe(Id),
  occupied: z.enum(['0', '1']).optional(),
  contour: z.object({ point: z.array(z.object({ x: coordinate, y: coordinate })).min(3) })
})
const Parking = z.object({ parking: z.object({ space: z.array(Space).min(1) }) })

const xml = new XMLParser({ ignoreAttributes: false, attributeNamePrefix: '', parseAttributeValue: false, processEntities: false, isArray: name => name === 'space' || name === 'point' })

/** The pictures in a folder and those below it, by the names of the files. Throws `OperatorError` (`bad_file`). */
export async function findFrames (folder: string): Promise<string[]> {
  let names: string[]
  try {
    names = (await readdir(folder, { recursive: true })).filter(name => extname(name).toLowerCase() in CONTENT_TYPES)
  } catch (error) {
    throw new OperatorError('bad_file', `cannot read the folder of frames ${folder}: ${messageOf(error)}`, { cause: error })
  }
  if (names.length === 0) throw new OperatorError('bad_file', `the folder ${folder} has no frames (.jpg or .png)`)
  if (names.length > MAX_FILES) throw new OperatorError('bad_file', `the folder ${folder} has ${names.length} frames; at most ${MAX_FILES} are replayed`)
  return names.sort((a, b) => basename(a) < basename(b) ? -1 : basename(a) > basename(b) ? 1 : a < b ? -1 : 1).map(name => join(folder, name))
}

export class RecordedFrames implements FrameSource {
  readonly #files: readonly string[]
  #next = 0

  constructor (files: readonly string[]) {
    this.#files = files
  }

  async next (): Promise<Shot | null> {
    const file = this.#files[this.#next]
    if (file === undefined) return null
    this.#next++
    return { bytes: await readFile(file), contentType: CONTENT_TYPES[extname(file).toLowerCase()] ?? 'image/jpeg', label: await labelOf(file) }
  }
}

/** The label beside a picture; null without one. Throws `OperatorError` (`bad_file`) for one that is wrong. */
async function labelOf (file: string): Promise<Label | null> {
  const stem = file.slice(0, -extname(file).length)
  const json = await readIfThere(`${stem}.json`)
  if (json !== null) return checked(`${stem}.json`, Label, () => JSON.parse(json) as unknown)
  const text = await readIfThere(`${stem}.xml`)
  if (text === null) return null
  const { parking } = checked(`${stem}.xml`, Parking, () => xml.parse(text) as unknown)
  // Some spaces of PKLot are not labelled: nobody knows what is true of them.
  const known = parking.space.filter(({ occupied }) => occupied !== undefined)
  return { width: 0, height: 0, bays: known.map(({ id, occupied, contour }) => ({ bay: id, polygon: contour.point, occupied: occupied === '1' })) }
}

async function readIfThere (file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new OperatorError('bad_file', `cannot read ${file}: ${messageOf(error)}`, { cause: error })
  }
}

function checked<T> (file: string, schema: z.ZodType<T>, read: () => unknown): T {
  let value: unknown
  try {
    value = read()
  } catch (error) {
    throw new OperatorError('bad_file', `${file} cannot be read: ${messageOf(error)}`, { cause: error })
  }
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw new OperatorError('bad_file', `${file} is no label of a frame: ${firstIssue(parsed.error)}`)
  return parsed.data
}
