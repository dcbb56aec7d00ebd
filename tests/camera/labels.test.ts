import { describe, expect, test } from 'vitest'
import { MAX_LABEL_BYTES, parseLabels } from '../../services/camera/labels.js'

const space = (id: string, occupied: string, points = '<point x="1" y="2" /><point x="30" y="2" /><point x="30" y="40" />'): string =>
  `<space id="${id}"${occupied}><rotatedRect><center x="9" y="9" /><size w="1" h="2" /><angle d="-71" /></rotatedRect><contour>${points}</contour></space>`
const xml = (...spaces: string[]): string => `<?xml version="1.0"?>\n<parking id="ufpr05">${spaces.join('')}</parking>`
const polygon = [{ x: 1, y: 2 }, { x: 30, y: 2 }, { x: 30, y: 40 }]
const pairs = [[1, 2], [30, 2], [30, 40]]

describe('PKLot XML', () => {
  test('gives bays, outlines, and what is taken; a space without `occupied` is not labelled', () => {
    expect(parseLabels(xml(space('1', ' occupied="1"'), space('2', ' occupied="0"'), space('3', '')), 'a.xml').bays).toEqual([
      { bay: '1', polygon, taken: true }, { bay: '2', polygon, taken: false }, { bay: '3', polygon, taken: null }
    ])
  })

  test('a single space, and points in capitals, are read as well', () => {
    expect(parseLabels(xml(space('1', ' occupied="1"').replaceAll('<point', '<Point')), 'a.xml').bays).toEqual([{ bay: '1', polygon, taken: true }])
  })

  test.each<[string, string, RegExp]>([
    ['not closed', '<parking><space id="1">', /line 1/],
    ['another document', '<html></html>', /parking/],
    ['no space', '<parking id="x"></parking>', /parking/],
    ['an id that is none', xml(space('a/b', ' occupied="1"')), /space\.0\.id/],
    ['an id twice', xml(space('1', ''), space('1', '')), /bay 1 is there twice/],
    ['occupied that is neither', xml(space('1', ' occupied="yes"')), /must be 0 or 1/],
    ['two points', xml(space('1', '', '<point x="1" y="2"/><point x="3" y="4"/>')), /from 3 to 32 points/],
    ['a point without y', xml(space('1', '', '<point x="1"/><point x="3" y="4"/><point x="3" y="4"/>')), /point\.0\.y/],
    ['a point far away', xml(space('1', '', '<point x="1e99" y="2"/><point x="3" y="4"/><point x="3" y="4"/>')), /must be a number/],
    ['1,001 spaces', xml(...Array.from({ length: 1_001 }, (_, i) => space(`b${i}`, ''))), /1000/],
    ['entities that grow', '<!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><parking>&b;</parking>', /DOCTYPE/],
    ['an entity of a file', '<?xml version="1.0"?><!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]><parking>&x;</parking>', /DOCTYPE/],
    ['a tag named __proto__', '<parking><__proto__><space/></__proto__></parking>', /labels a\.xml/],
    ['10,000 tags in each other', `${'<a>'.repeat(10_000)}${'</a>'.repeat(10_000)}`, /labels a\.xml/],
    ['too long', `<a>${' '.repeat(MAX_LABEL_BYTES)}</a>`, /more than/]
  ])('%s is refused with the file and the place', (_, text, message) => {
    expect(() => parseLabels(text, 'a.xml')).toThrow(expect.objectContaining({ code: 'bad_file', message: expect.stringMatching(message) as string }) as Error)
  })
})

describe('JSON', () => {
  test('of one frame', () => {
    expect(parseLabels(JSON.stringify({ bays: [{ bay: 'A-1', polygon: pairs, taken: true }, { bay: 'A-2', polygon, occupied: false }, { bay: 'A-3', polygon: pairs }] }), 'a.json')).toEqual({
      bays: [{ bay: 'A-1', polygon, taken: true }, { bay: 'A-2', polygon, taken: false }, { bay: 'A-3', polygon, taken: null }], size: null, frames: null
    })
  })

  test('of many frames with the same bays, drawn on a frame of a given size', () => {
    const labels = parseLabels(JSON.stringify({ width: 640, height: 360, bays: [{ bay: 'A-1', polygon: pairs }], frames: { 'monday/1.jpg': { 'A-1': true }, 'monday/2.jpg': {} } }), 'a.json')
    expect(labels.size).toEqual({ width: 640, height: 360 })
    expect(labels.frames?.get('monday/1.jpg')).toEqual(new Map([['A-1', true]]))
    expect(labels.frames?.get('monday/2.jpg')).toEqual(new Map())
  })

  test.each<[string, unknown, RegExp]>([
    ['no bays', {}, /bays/],
    ['an outline of text', { bays: [{ bay: 'A', polygon: ['a', 'b', 'c'] }] }, /bays\.0\.polygon\.0: must be \[x, y\]/],
    ['33 corners', { bays: [{ bay: 'A', polygon: Array.from({ length: 33 }, () => [1, 1]) }] }, /polygon/],
    ['an infinite corner', '{"bays":[{"bay":"A","polygon":[[1e999,1],[1,2],[2,2]]}]}', /polygon/],
    ['an id that is none', { bays: [{ bay: '__proto__', polygon: pairs }] }, /bays\.0\.bay/],
    ['taken that is no boolean', { bays: [{ bay: 'A', polygon: pairs, taken: 'yes' }] }, /taken/],
    ['a width alone', { width: 640, bays: [{ bay: 'A', polygon: pairs }] }, /together/],
    ['a frame of unknown bays', { bays: [{ bay: 'A', polygon: pairs }], frames: { 'x.jpg': { B: true } } }, /x\.jpg names bay B/],
    ['no JSON', '{', /neither XML nor JSON/]
  ])('%s is refused with the file and the place', (_, value, message) => {
    expect(() => parseLabels(typeof value === 'string' ? value : JSON.stringify(value), 'a.json')).toThrow(expect.objectContaining({ code: 'bad_file', message: expect.stringMatching(message) as string }) as Error)
  })
})
