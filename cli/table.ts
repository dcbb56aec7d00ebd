// Tables for people: plain, aligned, without colour codes when piped.
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
