import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { decodeFrame, FRAME_LIMITS } from '../../services/camera/frame.js'

const noise = Uint8Array.from({ length: 64 * 48 * 3 }, (_, i) => (i * 2_654_435_761) >>> 24)
const raw = { raw: { width: 64, height: 48, channels: 3 as const } }
const jpeg = await sharp(noise, raw).jpeg().toBuffer()
const png = await sharp(noise, raw).png().toBuffer()

async function refusal (bytes: Uint8Array, limits = FRAME_LIMITS): Promise<string> {
  const decoded = await decodeFrame(bytes, limits)
  return decoded.ok ? 'taken' : decoded.refusal.code
}

describe('a picture that is whole', () => {
  test('a PNG becomes its pixels, byte for byte', async () => {
    expect(await decodeFrame(png)).toEqual({ ok: true, frame: { width: 64, height: 48, pixels: Buffer.from(noise) } })
  })

  test.each<[string, () => Uint8Array | Promise<Uint8Array>]>([
    ['JPEG', () => jpeg],
    ['progressive JPEG', () => sharp(noise, raw).jpeg({ progressive: true }).toBuffer()],
    ['grey JPEG', () => sharp(noise, raw).greyscale().jpeg().toBuffer()],
    ['CMYK JPEG', () => sharp(noise, raw).toColourspace('cmyk').jpeg().toBuffer()],
    ['PNG with alpha', () => sharp(noise, raw).ensureAlpha(0.5).png().toBuffer()],
    ['PNG of 16 bits', () => sharp(noise, raw).toColourspace('rgb16').png().toBuffer()],
    ['PNG with a palette', () => sharp(noise, raw).png({ palette: true }).toBuffer()]
  ])('a %s has three bytes a pixel', async (_, bytes) => {
    const decoded = await decodeFrame(await bytes())
    expect(decoded).toMatchObject({ ok: true, frame: { width: 64, height: 48 } })
    expect(decoded.ok && decoded.frame.pixels.length).toBe(64 * 48 * 3)
  })
})

describe('a picture that is not', () => {
  test.each<[string, Uint8Array | (() => Promise<Uint8Array>), string]>([
    ['of 0 bytes', new Uint8Array(), 'bad_image'],
    ['a JPEG cut in half', jpeg.subarray(0, jpeg.length >> 1), 'bad_image'],
    ['a JPEG without its last bytes', jpeg.subarray(0, jpeg.length - 60), 'bad_image'],
    ['a JPEG that is its first three bytes', jpeg.subarray(0, 3), 'bad_image'],
    ['a JPEG with other bytes in its middle', Buffer.concat([jpeg.subarray(0, 700), Buffer.alloc(200, 0xff), jpeg.subarray(900)]), 'bad_image'],
    ['a PNG cut in half', png.subarray(0, png.length >> 1), 'bad_image'],
    ['a PNG with a wrong checksum', Buffer.concat([png.subarray(0, 60), Buffer.from([1, 2, 3, 4]), png.subarray(64)]), 'bad_image'],
    ['a GIF', () => sharp(noise, raw).gif().toBuffer(), 'wrong_type'],
    ['a WebP', () => sharp(noise, raw).webp().toBuffer(), 'wrong_type'],
    ['a TIFF', () => sharp(noise, raw).tiff().toBuffer(), 'wrong_type'],
    ['an SVG', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>'), 'wrong_type'],
    ['text', Buffer.from('hello'), 'wrong_type']
  ])('%s is refused', async (_, bytes, code) => {
    expect(await refusal(typeof bytes === 'function' ? await bytes() : bytes)).toBe(code)
  })

  test('more bytes than the limit are refused before they are decoded', async () => {
    expect(await refusal(jpeg, { ...FRAME_LIMITS, maxBytes: jpeg.length - 1 })).toBe('too_large')
    expect(await refusal(jpeg, { ...FRAME_LIMITS, maxBytes: jpeg.length })).toBe('taken')
  })

  test('a PNG of 100 million pixels in some kilobytes is refused by its header, without taking its memory', async () => {
    const bomb = await sharp({ create: { width: 10_000, height: 10_000, channels: 3, background: '#000' }, limitInputPixels: false }).png({ compressionLevel: 9 }).toBuffer()
    expect(bomb.length).toBeLessThan(FRAME_LIMITS.maxBytes)
    const before = process.memoryUsage().rss
    expect(await decodeFrame(bomb)).toMatchObject({ ok: false, refusal: { code: 'too_large', message: expect.stringContaining('10000 x 10000') as string } })
    expect(process.memoryUsage().rss - before).toBeLessThan(200e6)
  })

  test('1,000 pictures with random faults end in a refusal or a frame, never in an exception', async () => {
    let refused = 0
    for (let i = 0; i < 1_000; i++) {
      const bytes = Buffer.from(i % 2 === 0 ? jpeg : png)
      for (let fault = 0; fault <= i % 5; fault++) bytes[(i * 7_919 + fault * 104_729) % bytes.length] = (i * 31 + fault * 17) % 256
      if (!(await decodeFrame(bytes)).ok) refused++
    }
    expect(refused).toBeGreaterThan(250)
    expect(await refusal(jpeg)).toBe('taken')
  })
})
