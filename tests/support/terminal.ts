// A terminal as a person has one: an interactive shell on a pseudo terminal, to which commands are given one by one. What
// programs then show (colours, questions, Ctrl-C) is what a person would see; needs `script` of util-linux.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'

/** Longest time that one command, or words that are waited for, may take: the machine may be busy. */
const PATIENCE_MS = 30_000
/** How long a command may take to end after Ctrl-C when the terminal is closed. */
const CLOSE_WITHIN_MS = 5_000

/** Why a terminal cannot be had here; null when it can. */
export function whyNoTerminal (): string | null {
  const said = spawnSync('script', ['--version'], { encoding: 'utf8' })
  return said.status === 0 && said.stdout.includes('util-linux') ? null : '`script` of util-linux is not installed (Debian: bsdutils)'
}

export interface Done {
  readonly code: number
  /** Both outputs, without colours, with plain line ends. */
  readonly said: string
}

export class Terminal {
  readonly #folder: string
  readonly #shell: ChildProcess
  readonly #ended: Promise<unknown>
  #screen = ''
  /** How much of the screen has been looked at. */
  #seen = 0
  #commands = 0
  #running: string | null = null
  #changed: () => void = () => {}

  private constructor (folder: string, scratch: string, env: Record<string, string>) {
    this.#folder = scratch
    const shell = 'stty -echo -onlcr; exec bash --noprofile --norc --noediting -i'
    this.#shell = spawn('script', ['-qfec', shell, '/dev/null'], { cwd: folder, env: { ...env, PS1: '', PS2: '', TERM: 'dumb' }, stdio: ['pipe', 'pipe', 'inherit'] })
    this.#ended = once(this.#shell, 'exit')
    this.#shell.stdout?.on('data', (bytes: Buffer) => {
      this.#screen += stripVTControlCharacters(bytes.toString()).replaceAll('\r', '')
      this.#changed()
    })
    this.#shell.stdin?.on('error', () => {})
  }

  /** `scratch` is a folder for the terminal's own files; `env` is all of the environment. */
  static async open (folder: string, scratch: string, env: Record<string, string>): Promise<Terminal> {
    const terminal = new Terminal(folder, scratch, env)
    // What the shell says of itself is not what a command says.
    await terminal.run(':')
    return terminal
  }

  /** Everything that it has shown. */
  get screen (): string { return this.#screen }

  /** Gives a command that is not waited for. It reads nothing from the terminal, unless it is to read what is typed. */
  start (command: string, reads: 'nothing' | 'what is typed' = 'nothing'): void {
    const file = join(this.#folder, `${process.pid}-${this.#commands++}.sh`)
    writeFileSync(file, `${command}\n`)
    const end = `__END_${this.#commands}__`
    this.#running = end
    this.#shell.stdin?.write(`. ${file} ${reads === 'nothing' ? '< /dev/null' : ''}; printf '${end}%s\\n' $?\n`)
  }

  /** Gives a command and waits until it has ended. */
  async run (command: string): Promise<Done> {
    this.start(command)
    return await this.ended(command)
  }

  /** Ctrl-C, and waits until the command that runs has ended; where none runs it does nothing. */
  async interrupt (): Promise<void> {
    if (this.#running === null) return
    this.#shell.stdin?.write('\u0003')
    await this.ended('Ctrl-C')
  }

  /** Types for the command that runs. Enter is `\r`. */
  type (keys: string): void { this.#shell.stdin?.write(keys) }

  /** Waits until this is shown after what was looked at last, wherever in a line; gives what was found. */
  async sees (words: RegExp): Promise<RegExpExecArray> {
    return await this.#wait(text => {
      const match = words.exec(text)
      return match === null ? null : { value: match, length: match.index + match[0].length }
    }, String(words))
  }

  /**
   * Waits until `find` finds something in the whole lines that were shown since the last look: it gives the number of lines
   * that are seen with it, or undefined.
   */
  async shows (find: (lines: readonly string[]) => number | undefined, what: string): Promise<void> {
    await this.#wait(text => {
      const lines = text.split('\n').slice(0, -1)
      const count = find(lines)
      return count === undefined ? null : { value: null, length: lines.slice(0, count).join('\n').length }
    }, what)
  }

  async ended (what: string): Promise<Done> {
    const end = new RegExp(`${this.#running}(\\d+)\\n`)
    const done = await this.#wait(text => {
      const match = end.exec(text)
      return match === null ? null : { value: { code: Number(match[1]), said: text.slice(0, match.index) }, length: match.index + match[0].length }
    }, what)
    this.#running = null
    return done
  }

  /** Ends what runs in it, and the shell. */
  async close (): Promise<void> {
    // A terminal forgets what was typed around a Ctrl-C: an idle shell is only told to go.
    this.#shell.stdin?.write(this.#running === null ? 'exit\n' : '\u0003exit\n')
    const timer = setTimeout(() => this.#shell.kill('SIGTERM'), CLOSE_WITHIN_MS)
    await this.#ended
    clearTimeout(timer)
  }

  /** Waits until `find` finds something in what was not looked at yet; `length` of that is then seen. */
  async #wait<T> (find: (text: string) => { value: T, length: number } | null, what: string): Promise<T> {
    return await new Promise((resolve, reject) => {
      const look = (): void => {
        const found = find(this.#screen.slice(this.#seen))
        if (found === null) return
        this.#seen += found.length
        finish()
        resolve(found.value)
      }
      const timer = setTimeout(() => {
        finish()
        reject(new Error(`${what}\nwas waited for ${PATIENCE_MS / 1_000} s; the terminal shows:\n${this.#screen.slice(this.#seen)}`))
      }, PATIENCE_MS)
      const finish = (): void => {
        clearTimeout(timer)
        this.#changed = () => {}
      }
      this.#changed = look
      look()
    })
  }
}
