// How failures add up: for whom, how long, and of how many.
import { describe, expect, test } from 'vitest'
import { addressKey, Failures, FailuresOfNames } from '../../broker/login-throttle.js'
import { ManualClock } from '../support/clock.js'

describe('wrong passwords', () => {
  test('make the next log-in from there wait, longer each time and never longer than the limit', async () => {
    const clock = new ManualClock()
    const failures = new Failures(clock, { loginDelayMs: 5_000, loginForgetMs: 900_000 })
    const waits = Array.from({ length: 12 }, () => {
      failures.count('a')
      return Math.max(0, failures.untilMs('a') - clock.nowMs())
    })
    expect(waits).toEqual([0, 0, 250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000, 5_000, 5_000])
    expect(failures.untilMs('b')).toBe(0)
    clock.advance(900_000)
    expect(failures.untilMs('a')).toBe(0)
    expect(failures.size).toBe(0)
  })

  test('are remembered of 10,000 addresses and names and no more, after a million', () => {
    const limits = { loginDelayMs: 5_000, loginForgetMs: 900_000 }
    const addresses = new Failures(new ManualClock(), limits)
    const names = new FailuresOfNames(new ManualClock(), limits)
    for (let i = 0; i < 3; i++) {
      addresses.count('old')
      names.count('old', `10.0.0.${i}`)
    }
    expect(names.untilMs('old')).toBeGreaterThan(0)
    for (let i = 0; i < 1_000_000; i++) {
      addresses.count(`a${i}`)
      names.count(`n${i}`, `a${i}`)
    }
    expect(addresses.size).toBeLessThanOrEqual(10_000)
    expect(addresses.size).toBeGreaterThanOrEqual(5_000)
    expect(addresses.untilMs('old')).toBe(0)
    // Names, and which address tried which name.
    expect(names.size).toBeLessThanOrEqual(20_000)
    // The last five thousand are never forgotten for want of room.
    for (const [key, count] of [['a995000', 3], ['a999999', 3]] as const) {
      for (let i = 1; i < count; i++) addresses.count(key)
      expect(addresses.untilMs(key)).toBeGreaterThan(0)
    }
    expect(names.untilMs('old')).toBe(0)
  })

  test('for one name count once an address, and all of them once there are three', () => {
    const clock = new ManualClock()
    const names = new FailuresOfNames(clock, { loginDelayMs: 5_000, loginForgetMs: 900_000 })
    const waitAfter = (from: string): number => {
      names.count('olga', from)
      return Math.max(0, names.untilMs('olga') - clock.nowMs())
    }
    expect(['a', 'a', 'a', 'a', 'b', 'b', 'b'].map(waitAfter)).toEqual([0, 0, 0, 0, 0, 0, 0])
    expect(['c', 'a', 'a', 'b'].map(waitAfter)).toEqual([250, 500, 1_000, 2_000])
    clock.advance(900_000)
    expect(names.untilMs('olga')).toBe(0)
  })

  test('count for one address however it is written, and for all of an IPv6 customer', () => {
    expect(addressKey('::ffff:10.0.0.1')).toBe(addressKey('10.0.0.1'))
    expect(addressKey('2001:db8:1:2:3:4:5:6')).toBe(addressKey('2001:DB8:1:2::1'))
    expect(addressKey('2001:db8:1:2::')).toBe('2001:db8:1:2::/64')
    expect(addressKey('2001:db8::1')).toBe('2001:db8:0:0::/64')
    expect(addressKey('::1')).toBe('0:0:0:0::/64')
    expect(addressKey('fe80::1%eth0')).toBe('fe80:0:0:0::/64')
    expect(addressKey('64:ff9b::10.0.0.1')).toBe('64:ff9b:0:0::/64')
    expect(addressKey('2001:db8:1:3::1')).not.toBe(addressKey('2001:db8:1:2::1'))
    expect(addressKey('unknown')).toBe('unknown')
  })
})
