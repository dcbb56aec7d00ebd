// Users files of benches: a few passwords for many users, because each hash of a chosen one takes a sixth of a second.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { generatePassword, hashPassword } from '../broker/password.js'
import type { Role } from '../shared/access.js'
import { newFolder } from './processes.js'

/** A password that a person chose, and one that `parkmq user add --generate` made. */
export const PASSWORDS = { chosen: 'correct horse battery', random: generatePassword() } as const

export interface BenchUser {
  readonly name: string
  readonly role: Exclude<Role, 'local'>
  readonly lots?: readonly string[]
  /** Whose password it has. Default random. */
  readonly password?: keyof typeof PASSWORDS
}

export interface BenchUsers {
  /** Path of the users file. */
  readonly file: string
  remove (): void
}

/** Writes a users file in a folder of its own. */
export async function writeBenchUsers (users: readonly BenchUser[]): Promise<BenchUsers> {
  const hashes = { chosen: await hashPassword(PASSWORDS.chosen, 'chosen'), random: await hashPassword(PASSWORDS.random, 'random') }
  const folder = newFolder()
  const file = join(folder, 'users.yaml')
  writeFileSync(file, stringify({ users: users.map(({ password = 'random', ...user }) => ({ ...user, password: hashes[password] })) }, { aliasDuplicateObjects: false }), { mode: 0o600 })
  return { file, remove: () => rmSync(folder, { recursive: true, force: true }) }
}
