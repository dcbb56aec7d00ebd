// Puts what is compiled in dist/ together in dist/program, a file or two a command: to read hundreds of small modules is most of the time
// that a command takes to start. Tests and benchmarks use the modules themselves. `npm run build` runs it; what is up to date stays.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { rolldown } from 'rolldown'

const PROGRAM = join('dist', 'program')
/** Packages with files of their own beside their code: binaries and the code of threads. */
const APART = ['libsql', 'sharp', 'pino', 'pino-pretty', 'pg-native']
/** The benchmarks start their processes by the names of their modules. */
const BENCHMARKS = '../bench/command.js'

/** When the newest of these and of what is in them was written, in milliseconds; of folders, the modules. */
function newest (...paths) {
  const modules = path => statSync(path).isDirectory() ? readdirSync(path, { recursive: true }).filter(file => file.endsWith('.js')).map(file => join(path, file)) : [path]
  return Math.max(...paths.flatMap(modules).map(file => statSync(file).mtimeMs))
}

const compiled = ['broker', 'cli', 'services', 'shared', 'storage'].map(folder => join('dist', folder))
const main = join(PROGRAM, 'main.js')
if (!existsSync(main) || statSync(main).mtimeMs < newest(...compiled, 'package-lock.json', 'bundle.js')) {
  const bundle = await rolldown({
    input: { main: 'dist/cli/main.js', worker: 'dist/services/camera/worker.js' },
    platform: 'node',
    external: APART,
    plugins: [{ name: 'benchmarks', resolveId: id => id === BENCHMARKS ? { id, external: 'absolute' } : null }],
    // hdr-histogram-js looks for zlib with `eval`, for an encoding that is not used here.
    checks: { eval: false }
  })
  const unfinished = `${PROGRAM}.${process.pid}`
  await bundle.write({ dir: unfinished, format: 'esm', entryFileNames: '[name].js', chunkFileNames: '[name]-[hash].js' })
  await bundle.close()
  // A parkmq that runs may read more of the modules that it was started from: they stay. What names them comes last, and says by its
  // time that all is there.
  mkdirSync(PROGRAM, { recursive: true })
  for (const file of readdirSync(unfinished).sort((a, b) => Number(a === 'main.js') - Number(b === 'main.js'))) renameSync(join(unfinished, file), join(PROGRAM, file))
  rmSync(unfinished, { recursive: true })
}
