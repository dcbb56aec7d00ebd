// Topics and filters against a matcher that does it the slow way, over random ones (MQTT 5.0 section 4.7).
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { matcherOf } from '../../../broker/topic-filters.js'
import { TopicTree } from '../../../broker/topic-tree.js'

/** Few names, so that many match; empty levels, $ and names that mean something to JavaScript among them. */
const name = fc.constantFrom('', 'a', 'b', '$a', 'lots', '__proto__', 'constructor', 'ä', ' ')
const topic = fc.array(name, { minLength: 1, maxLength: 5 }).map(levels => levels.join('/')).filter(text => text.length > 0)
const filter = fc.tuple(fc.array(fc.oneof(name, fc.constant('+')), { maxLength: 4 }), fc.boolean())
  .map(([levels, all]) => [...levels, ...(all || levels.length === 0 ? ['#'] : [])].join('/')).filter(text => text.length > 0)

/** Section 4.7 word by word. */
function matches (filter: string, topic: string): boolean {
  const wanted = filter.split('/')
  const levels = topic.split('/')
  if (topic.startsWith('$') && (wanted[0] === '+' || wanted[0] === '#')) return false
  if (wanted.at(-1) === '#') {
    const parent = wanted.slice(0, -1)
    return levels.length >= parent.length && parent.every((level, i) => level === '+' || level === levels[i])
  }
  return wanted.length === levels.length && wanted.every((level, i) => level === '+' || level === levels[i])
}

function treeOf (paths: readonly string[]): TopicTree<string> {
  const tree = new TopicTree<string>()
  for (const path of paths) tree.set(path, path)
  return tree
}

const sorted = (texts: Iterable<string>): string[] => [...texts].sort()

test('the filters that match a topic', () => {
  fc.assert(fc.property(fc.uniqueArray(filter, { maxLength: 30 }), topic, (filters, published) => {
    const found: string[] = []
    treeOf(filters).matchTopic(published, one => found.push(one))
    expect(sorted(found)).toEqual(sorted(filters.filter(one => matches(one, published))))
  }), { numRuns: 2_000 })
})

test('the topics that match a filter', () => {
  fc.assert(fc.property(fc.uniqueArray(topic, { maxLength: 30 }), filter, (topics, wanted) => {
    expect(sorted([...treeOf(topics).matchFilter(wanted)].filter(one => one !== null))).toEqual(sorted(topics.filter(one => matches(wanted, one))))
  }), { numRuns: 2_000 })
})

test('the matcher of one filter says the same', () => {
  fc.assert(fc.property(filter, topic, (wanted, published) => {
    expect(matcherOf(wanted)(published)).toBe(matches(wanted, published))
  }), { numRuns: 2_000 })
})

test('what is set and deleted in any order is what a map would have', () => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.oneof(topic, filter), fc.boolean()), { maxLength: 60 }), steps => {
    const tree = new TopicTree<number>()
    const map = new Map<string, number>()
    steps.forEach(([path, isSet], i) => {
      if (isSet) {
        tree.set(path, i)
        map.set(path, i)
      } else {
        tree.delete(path)
        map.delete(path)
      }
      expect(tree.size).toBe(map.size)
      expect(tree.get(path)).toBe(map.get(path))
    })
    expect([...tree.values()].sort((a, b) => a - b)).toEqual([...map.values()].sort((a, b) => a - b))
  }), { numRuns: 500 })
})

describe('while it is walked', () => {
  test('a topic that goes is not found, and one that changed is found as it is', () => {
    const tree = treeOf(['a/1', 'a/2', 'a/3', 'b/1'])
    const found: string[] = []
    for (const one of tree.matchFilter('a/+')) {
      if (one !== null) found.push(one)
      tree.delete('a/2')
      tree.set('a/3', 'new')
    }
    expect(found).toEqual(['a/1', 'new'])
  })
})
