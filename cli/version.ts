// The version of the package, read once from package.json beside the compiled program or the sources.
import { readFileSync } from 'node:fs'
import { z } from 'zod'

const Package = z.object({ name: z.literal('parkmq'), version: z.string() })

function readVersion (): string {
  // cli/version.ts stands one folder below package.json, dist/cli/version.js two.
  for (const up of ['../package.json', '../../package.json']) {
    try {
      const parsed = Package.safeParse(JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')))
      if (parsed.success) return parsed.data.version
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  throw new Error('package.json of parkmq is missing')
}

export const version = readVersion()
