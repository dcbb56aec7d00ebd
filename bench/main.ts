// `npm run bench --`: the same as `parkmq bench`.
import { bench } from './command.js'

process.exit(await bench(process.argv.slice(2), 'npm run bench --'))
