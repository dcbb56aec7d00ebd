// JPEG and PNG bytes from outside become pixels, or a refusal with its code. The bytes are hostile until shown otherwise:
// nothing here may end the process, and no picture may take more memory than its limit.
import type sharp from 'sharp'
import { messageOf, type Refusal } from '../../shared/errors.js'

type Sharp = typeof sharp

/** A picture: red, green, blue, one byte each, from left to right, row by row. */
export interface Frame {
  readonly width: number
  readonly height: number
  readonly pixels: Uint8Array
}

export interface FrameLimits {
  /** Bytes of the compressed picture. */
  readonly maxBytes: number
  /** Width times height. A picture of a few kilobytes may claim to have a thousand million. */
  readonly maxPixels: number
  /** Seconds that one picture may take to be decoded. */
  readonly maxSeconds: number
}

export const FRAME_LIMITS: FrameLimits = { maxBytes: 8 * 1024 * 1024, maxPixels: 16_000_000, maxSeconds: 10 }

export type DecodedFrame = { readonly ok: true, readonly frame: Frame } | { readonly ok: false, readonly refusal: Refusal }

/**
 * Decodes a JPEG or PNG; its content decides which it is, not what the sender calls it. A rotation in the EXIF data is left
 * alone: the bays were drawn on the picture as it is. Refuses with `wrong_type` (neither JPEG nor PNG), `too_large` (bytes or
 * pixels) and `bad_image` (empty, corrupt, truncated, or not done in time). Never throws.
 */
export async function decodeFrame (bytes: Uint8Array, limits: FrameLimits = FRAME_LIMITS): Promise<DecodedFrame> {
  if (bytes.length === 0) return refuse('bad_image', 'the picture has 0 bytes; send a whole JPEG or PNG')
  if (bytes.length > limits.maxBytes) return refuse('too_large', `the picture has ${bytes.length} bytes, more than ${limits.maxBytes}; send it smaller or compress it more`)
  // Before any decoder sees it: the library would also open SVG, GIF, TIFF and more.
  const format = formatOf(bytes)
  if (format === null) return refuse('wrong_type', `the picture is neither JPEG nor PNG (it begins with ${Buffer.from(bytes.subarray(0, 8)).toString('hex')}); send one of these`)
  try {
    const image = (await openSharp())(bytes, { failOn: 'warning', limitInputPixels: false, sequentialRead: true })
    const { width, height } = await image.metadata()
    if (width * height > limits.maxPixels) return refuse('too_large', `the picture has ${width} x ${height} pixels, more than ${limits.maxPixels} in all; send it smaller`)
    const { data, info } = await image.timeout({ seconds: limits.maxSeconds }).toColourspace('srgb').removeAlpha().raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
    if (info.channels !== 3 || data.length !== info.width * info.height * 3) return refuse('bad_image', `the ${format} decodes to ${info.channels} channels instead of 3; send an RGB or grey picture`)
    return { ok: true, frame: { width: info.width, height: info.height, pixels: data } }
  } catch (error) {
    return refuse('bad_image', `the ${format} cannot be decoded (${firstLine(messageOf(error))}); it is corrupt or truncated: send a whole one`)
  }
}

function refuse (code: Refusal['code'], message: string): DecodedFrame {
  return { ok: false, refusal: { code, message } }
}

function formatOf (bytes: Uint8Array): 'JPEG' | 'PNG' | null {
  const begins = (...magic: readonly number[]): boolean => magic.every((byte, at) => bytes[at] === byte)
  if (begins(0xff, 0xd8, 0xff)) return 'JPEG'
  return begins(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a) ? 'PNG' : null
}

function firstLine (text: string): string {
  return text.split('\n')[0]?.slice(0, 200) ?? ''
}

let opened: Promise<Sharp> | undefined

/**
 * The image library, loaded when the first picture comes: commands that see none start without it. It keeps nothing, and
 * each picture has one thread: many pictures share the cores, one does not take them all.
 */
export function openSharp (): Promise<Sharp> {
  opened ??= import('sharp').then(({ default: sharp }) => {
    sharp.cache(false)
    sharp.concurrency(1)
    return sharp
  })
  return opened
}
