// What is typed early or pasted: each key goes to the question that is open when it is its turn.
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { Keys } from '../../cli/shell/keys.js'

function open (typed: string): Keys {
  const input = new PassThrough()
  const keys = new Keys(input)
  onTestFinished(() => keys.close())
  input.write(typed)
  return keys
}

/** Reads as a prompt does, up to Enter. */
async function readUntilEnter (keys: Keys): Promise<string> {
  let read = ''
  while (!read.endsWith('\r')) read += String((await once(keys, 'data'))[0])
  return read
}

test('a question that takes long to end loses nothing of what was typed for the next', async () => {
  const keys = open('X1\rnext\r')
  expect(await readUntilEnter(keys)).toBe('X1\r')
  const late: unknown[] = []
  const onLate = (key: unknown): void => { late.push(key) }
  keys.on('data', onLate)
  // As long as a busy processor may keep a prompt from ending.
  await sleep(150)
  expect(late).toEqual([])
  keys.off('data', onLate)
  keys.pause()
  const next = readUntilEnter(keys)
  keys.resume()
  expect(await next).toBe('next\r')
})

test('a question that does not end is asked again, and gets what was typed behind', async () => {
  const keys = open('a/b\rab\r')
  expect(await readUntilEnter(keys)).toBe('a/b\r')
  expect(await readUntilEnter(keys)).toBe('ab\r')
})

test('Ctrl-C is no key, and an arrow is one', async () => {
  const keys = open('\u0003\u001b[B\r')
  let left = 0
  keys.on('leave', () => { left++ })
  expect(await readUntilEnter(keys)).toBe('\u001b[B\r')
  expect(left).toBe(1)
})
