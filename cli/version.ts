// The package that this is of: where its files are and its version, found once beside the sources or the compiled program.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'

const Package = z.object({ name: z.literal('parkmq'), version: z.string() })

function findPackage (): { version: string, folder: URL } {
  // cli/version.ts stands one folder below package.json; dist/cli/version.js and dist/program two.
  for (const up of ['..', '../..']) {
    const folder = new URL(`${up}/`, import.meta.url)
    try {
      const parsed = Package.safeParse(JSON.parse(readFileSync(new URL('package.json', folder), 'utf8')))
      if (parsed.success) return { version: parsed.data.version, folder }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  throw new Error('package.json of parkmq is missing')
}

const found = findPackage()

export const { version } = found

/** What Node runs to start parkmq. */
export const PROGRAM = fileURLToPath(new URL('bin/parkmq.js', found.folder))
