// A page with commands and what they print, to be run as a reader would: the fenced blocks of a Markdown file.

/**
 * One command of a page. Blocks are `sh`, with words after it for the reader of the source and for the test:
 * `first`: in the first terminal, where it stays until the next one there (the reader presses Ctrl-C);
 * `fails`: its exit code is not 0.
 */
export interface Command {
  readonly text: string
  readonly line: number
  readonly first: boolean
  readonly fails: boolean
  /** What it prints; null where the page does not say. */
  readonly prints: string | null
  /** What the first terminal then shows. */
  readonly firstShows: string | null
}

/** The commands in order. Throws when a block is of another kind, or an output stands behind no command. */
export function commandsOf (markdown: string): Command[] {
  const commands: { -readonly [K in keyof Command]: Command[K] }[] = []
  const lines = markdown.split('\n')
  for (let at = 0; at < lines.length; at++) {
    const fence = /^```(\S+)(.*)$/.exec(lines[at] ?? '')
    if (fence === null) continue
    const [, language = '', marks = ''] = fence
    const has = (mark: string): boolean => marks.split(/\s+/).includes(mark)
    const begin = at + 1
    while (++at < lines.length && lines[at] !== '```');
    const block = lines.slice(begin, at)
    const last = commands.at(-1)
    switch (language) {
      case 'sh':
        for (const { text, line } of joined(block, begin + 1)) commands.push({ text, line, first: has('first'), fails: has('fails'), prints: null, firstShows: null })
        break
      case 'text':
        if (last === undefined) throw new Error(`line ${begin}: an output without a command`)
        if (has('first') && !last.first) last.firstShows = block.join('\n')
        else last.prints = block.join('\n')
        break
      default: throw new Error(`line ${begin}: a block of ${language || 'no language'}: use sh, text, or indent it`)
    }
  }
  return commands
}

/** Lines that end with a backslash go on in the next one. */
function joined (block: readonly string[], firstLine: number): { text: string, line: number }[] {
  const found: { text: string, line: number }[] = []
  let text = ''
  for (const [index, line] of block.entries()) {
    text += `${line}\n`
    if (line.endsWith('\\')) continue
    if (text.trim() !== '') found.push({ text: text.trimEnd(), line: firstLine + index })
    text = ''
  }
  return found
}

/**
 * Where what a page says of an output fits into what was printed: the numbers of lines after which it may end. `...` stands
 * for anything in its line, alone in a line for any lines; `<words>` for something without blanks. How many blanks stand
 * between two words does not matter. `anywhere`: other lines may come before.
 */
export function endsOf (output: string, printed: readonly string[], anywhere = false): number[] {
  // All ways at once: a pattern for the whole would try them one after the other, for ever if none fits.
  let ends = anywhere ? printed.map((_, index) => index) : [0]
  for (const line of output.trimEnd().split('\n')) {
    if (line.trim() === '...') {
      const least = Math.min(...ends)
      ends = Array.from({ length: Math.max(0, printed.length + 1 - least) }, (_, index) => least + index)
      continue
    }
    const pattern = new RegExp(`^${patternOfLine(line)}\\s*$`)
    ends = ends.filter(end => end < printed.length && pattern.test(printed[end] ?? '')).map(end => end + 1)
    if (ends.length === 0) return []
  }
  return ends
}

function patternOfLine (line: string): string {
  return line.split(/(\.\.\.|<[a-z][^<>]*>|\s+)/).map(part => {
    if (part === '...') return '.*?'
    if (/^<[a-z][^<>]*>$/.test(part)) return String.raw`\S+`
    return /^\s+$/.test(part) ? String.raw`\s+` : part.replace(/[\\^$.*+?()[\]{}|/-]/g, String.raw`\$&`)
  }).join('')
}
