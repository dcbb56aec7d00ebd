// Users files for tests, with hashes that cost little.
import { writeFileSync } from 'node:fs'
import { stringify } from 'yaml'
import { hashPassword } from '../../broker/password.js'

export interface TestUser {
  readonly name: string
  /** Default driver. */
  readonly role?: string
  readonly lots?: readonly string[]
  /** The password itself; it is hashed as a random one. */
  readonly password?: string
  readonly certificate?: string
}

/** Writes a users file and returns its path. */
export async function writeUsers (users: readonly TestUser[], file: string): Promise<string> {
  const entries = await Promise.all(users.map(async ({ role = 'driver', password, ...user }) => ({
    ...user, role, ...(password !== undefined && { password: await hashPassword(password, 'random') })
  })))
  writeFileSync(file, stringify({ users: entries }), { mode: 0o600 })
  return file
}
