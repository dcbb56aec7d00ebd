// The thread that checks passwords of addresses that have failed before: what it computes, what it may take of the
// processors, and how it ends.
import { scryptSync } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { BackgroundScrypt } from '../../broker/background-scrypt.js'
import { createLogin } from '../../broker/login.js'
import { Config } from '../../shared/config.js'
import { afterThisTest } from '../support/broker.js'
import { ManualClock } from '../support/clock.js'
import { openTestUsers, usersFile } from '../support/users.js'

const COST = { ln: 4, r: 8, p: 1 }
const SALT = Buffer.alloc(16, 1)

function start (): BackgroundScrypt {
  const background = new BackgroundScrypt()
  afterThisTest(() => background.close())
  return background
}

/** The niceness of each thread of this process by its id; the main thread's id is the process's. */
function nicenesses (): Map<number, number> {
  const found = new Map<number, number>()
  for (const thread of readdirSync('/proc/self/task')) {
    try {
      found.set(Number(thread), Number(readFileSync(`/proc/self/task/${thread}/stat`, 'utf8').split(') ')[1]?.split(' ')[16]))
    } catch {
      // It has ended since it was listed.
    }
  }
  return found
}

test('computes what scrypt computes, one after the other', async () => {
  const { derive } = start()
  const keys = await Promise.all(['a', 'b', ''].map(async password => await derive(Buffer.from(password), SALT, 32, COST)))
  expect(keys).toEqual(['a', 'b', ''].map(password => scryptSync(password, SALT, 32, { N: 16, r: 8, p: 1 })))
})

test('goes on after what cannot be computed', async () => {
  const { derive } = start()
  await expect(derive(Buffer.from('a'), SALT, 32, { ln: 4, r: 8, p: -1 })).rejects.toThrow()
  expect((await derive(Buffer.from('a'), SALT, 16, COST)).length).toBe(16)
})

test('ends when it is closed, and says so to who waits', async () => {
  const background = start()
  const waiting = background.derive(Buffer.from('a'), SALT, 32, { ln: 14, r: 8, p: 5 })
  background.close()
  await expect(waiting).rejects.toThrow('the thread for password checks has ended')
  await expect(background.derive(Buffer.from('a'), SALT, 32, COST)).rejects.toThrow('closed')
})

test.runIf(process.platform === 'linux')('checks the passwords of who has failed before with less of the processors, and nothing else', async () => {
  const clock = new ManualClock()
  const { users, log, metrics } = await openTestUsers(await usersFile([{ name: 'gate-1', password: 'correct horse' }]), clock)
  const login = createLogin({ users, config: Config.parse({}), clock, report: { log, metrics } })
  afterThisTest(() => login.close())
  const before = nicenesses()
  const main = before.get(process.pid) ?? NaN
  // A thread of the test before may still be ending, and threads for files come as they are needed.
  const slower = (): number[] => [...nicenesses()].filter(([thread, niceness]) => !before.has(thread) && niceness !== main).map(([, niceness]) => niceness)
  const check = async (password: string): Promise<boolean> => 'identity' in await login.check({ username: 'gate-1', password: Buffer.from(password), address: '10.0.0.1', clientId: 'c', certificateName: null })
  expect(await check('wrong')).toBe(false)
  expect(slower()).toEqual([])
  expect(await check('correct horse')).toBe(true)
  expect(nicenesses().get(process.pid)).toBe(main)
  expect(slower()).toEqual(main < 19 ? [Math.min(19, main + 10)] : [])
})
