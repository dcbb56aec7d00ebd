// The shell's questions for times: what is typed is read before anything is sent, and asked again when it is no time.
import { input } from '@inquirer/prompts'
import { readMinutes, readTime, type Written, type WrittenWindow } from '../times.js'
import type { Shell } from './shell.js'

const TIMES = '18:30, tomorrow 18:30, 2026-12-24 18:30'
const LENGTH = /^[+-]?\d+[dhm]/i

/** Asks until `read` takes it. Throws `Left`. */
export async function askFor<T> ({ questions }: Shell, message: string, read: (text: string) => T, given?: string): Promise<T> {
  const typed = await questions.ask(async context => await input({ message, validate: text => whyNot(text, read) ?? true, ...(given !== undefined && { default: given }) }, context))
  return read(typed)
}

export async function askWindow (shell: Shell): Promise<WrittenWindow> {
  const from = await askFor(shell, `From when? (${TIMES})`, readMoment)
  return { from, to: await askFor(shell, 'Until when, or for how long? (20:30, 2h)', readEnd) }
}

/** A time, or so many minutes after the begin. */
export function readEnd (text: string): Written | { minutes: number } {
  return LENGTH.test(text.trim()) ? { minutes: readMinutes(text, '') } : readMoment(text)
}

export function readMoment (text: string): Written {
  return readTime(text, '')
}

function whyNot (text: string, read: (text: string) => unknown): string | null {
  try {
    read(text)
    return null
  } catch (error) {
    if (!(error instanceof Error)) throw error
    return `${text.trim() === '' ? 'nothing ' : ''}${error.message.trim()}`
  }
}
