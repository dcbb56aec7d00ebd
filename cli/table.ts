// Tables for people: plain, aligned, without colour codes when piped, and nothing in them that writes on a terminal.
import Table from 'cli-table3'

/** Rows under their headings; numbers are aligned to the right. */
export function table (headings: readonly string[], rows: readonly (readonly (string | number | null)[])[]): string {
  const aligned = headings.map((_, column) => rows.length > 0 && rows.every(row => typeof row[column] === 'number') ? 'right' as const : 'left' as const)
  const out = new Table({
    head: [...headings],
    colAligns: aligned,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    chars: {
      top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '',
      left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: ''
    }
  })
  for (const row of rows) out.push(row.map(cell => cell ?? '-'))
  return out.toString().split('\n').map(line => line.trimEnd()).join('\n')
}

/** A text that a client chose: it must not write on an operator's terminal. */
export function printable (text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, '?')
}

/** A time of the service (ISO 8601) in the user's zone, to the second. */
export function local (iso: string): string {
  return new Date(iso).toLocaleString('sv-SE')
}
