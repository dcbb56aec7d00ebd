#!/usr/bin/env node
// Starts the compiled command line; `npm install` and `npm run build` put it into dist/program.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const main = new URL('../dist/program/main.js', import.meta.url)
if (!existsSync(fileURLToPath(main))) {
  console.error('parkmq: the compiled program is missing; run `npm run build` first')
  process.exit(1)
}
await import(main.href)
