// Any number of rows, by statements of few texts: each is prepared once. Rows are read, and on PostgreSQL written, as one JSON
// parameter; SQLite is given each cell of up to 32 rows, which costs a quarter of that there. The one branch between the engines for
// set-based statements is here.
import { sql, type CompiledQuery, type Kysely, type RawBuilder } from 'kysely'
import { ask, type Question } from './questions.js'
import { ROW_MAKERS } from './row-makers.js'
import { COLUMN_TYPES, FIXED_COLUMNS, type Cell, type ColumnType, type Tables } from './tables.js'

export type Engine = 'sqlite' | 'postgres'

/** A Kysely that knows which engine it speaks to. */
export interface Database {
  readonly kysely: Kysely<Tables>
  readonly engine: Engine
  /** SQLite alone: writes these rows at once, in the transaction that is open; only for the work of that one. `textOf`: the statement that takes the cells of so many rows. */
  readonly runEach?: (textOf: (rows: number) => string, rows: readonly (readonly Cell[])[]) => void
}

/** `(select ... )` with the given columns in the given order; each row is an array of cells. */
export function jsonRows (engine: Engine, columns: readonly (readonly [name: string, type: ColumnType])[], rows: readonly (readonly Cell[])[]): RawBuilder<unknown> {
  const json = JSON.stringify(rows)
  if (engine === 'sqlite') {
    const select = sql.join(columns.map(([name], i) => sql`value->>${sql.lit(i)} as ${sql.ref(name)}`))
    return sql`(select ${select} from json_each(${json}))`
  }
  const select = sql.join(columns.map(([name, type], i) => sql`(value->>${sql.lit(i)})::${sql.raw(type === 'text' ? 'text' : 'bigint')} as ${sql.ref(name)}`))
  return sql`(select ${select} from jsonb_array_elements(${json}::jsonb) as given(value))`
}

/**
 * What follows `from`: each row of `given` with the rows of `table` (`t`) for which `where` holds, by an index. PostgreSQL takes any JSON
 * for a hundred rows, and would rather read a table of ten thousand than look a hundred keys up in it; what has an offset is done for each.
 * `locks`: there, each row is locked in the order of `given`, and comes as it is when that is done.
 */
export function lookUp (engine: Engine, given: RawBuilder<unknown>, table: keyof Tables, where: RawBuilder<unknown>, { index, locks = false }: Omit<Narrowed, 'where'> = {}): RawBuilder<unknown> {
  if (engine === 'sqlite') return sql`${given} as given join ${sql.table(table)} as t ${index === undefined ? sql`` : sql`indexed by ${sql.ref(index)} `}on ${where}`
  return sql`${given} as given cross join lateral (select * from ${sql.table(table)} as t where ${where} offset 0${sql.raw(locks ? ' for update' : '')}) as t`
}

/**
 * Statements by their shape. Building the text of one costs more than running it on a few rows, and there are only so
 * many shapes: tables, their keys and the conditions in this project.
 */
const statements = new Map<string, CompiledQuery>()
const texts = new Map<string, string>()

/** The statement of this shape with `json` as its one parameter, which `build` has in it once. */
function statement<R> ({ kysely, engine }: Database, shape: string, json: string, build: () => RawBuilder<R>): CompiledQuery<R> {
  const key = `${engine} ${shape}`
  let compiled = statements.get(key)
  if (compiled === undefined) {
    compiled = build().compile(kysely)
    if (compiled.parameters.length !== 1) throw new Error(`a statement of rows has one parameter, not ${compiled.parameters.length}: ${compiled.sql}`)
    statements.set(key, compiled)
  }
  return { ...compiled, parameters: [json] }
}

/** What narrows `byKeys`. */
export interface Narrowed {
  /** SQL that is written in this project, never a value. Default: nothing. */
  readonly where?: string
  /** The index that leaves few rows. PostgreSQL finds it by its figures of the table; SQLite has none, and takes any that begins with a key. */
  readonly index?: string
  /** As of `lookUp`. Default false. */
  readonly locks?: boolean
}

/**
 * The rows of `table` (`t`) whose `keys` equal one of the given tuples and for which `where` holds; one statement. They
 * come back as one JSON text as well: from the driver, a row of its own costs twice as much.
 */
export function byKeys<T extends keyof Tables, K extends keyof Tables[T] & string> (
  database: Database, table: T, keys: readonly K[], values: readonly (readonly Cell[])[], { where = 'true', ...how }: Narrowed = {}
): Question<Tables[T][]> {
  const columns = Object.keys(COLUMN_TYPES[table]) as (keyof Tables[T] & string)[]
  const query = values.length === 0 ? null : statement(database, `select ${table} ${keys.join(' ')} ${where} ${how.index ?? ''} ${how.locks ? 'locked' : ''}`, JSON.stringify(values), () => {
    const given = jsonRows(database.engine, keys.map(key => [key, COLUMN_TYPES[table][key]]), [])
    const on = sql.join(keys.map(key => sql`t.${sql.ref(key)} = given.${sql.ref(key)}`), sql` and `)
    const [array, all] = database.engine === 'sqlite' ? ['json_array', 'json_group_array'] : ['json_build_array', 'json_agg']
    const row = sql.join(columns.map(column => sql`t.${sql.ref(column)}`))
    return sql`select ${sql.raw(all)}(${sql.raw(array)}(${row})) as found from ${lookUp(database.engine, given, table, sql`${on} and ${sql.raw(where)}`, how)}`
  })
  return {
    query,
    read: rows => {
      const [{ found } = { found: null }] = rows as { found: string | Cell[][] | null }[]
      return (typeof found === 'string' ? JSON.parse(found) as Cell[][] : found ?? []).map(ROW_MAKERS[table] ?? (cells => rowOf(columns, cells)))
    }
  }
}

/** Asks that. */
export async function selectByKeys<T extends keyof Tables, K extends keyof Tables[T] & string> (
  database: Database, table: T, keys: readonly K[], values: readonly (readonly Cell[])[], narrowed?: Narrowed
): Promise<Tables[T][]> {
  return await ask(database, byKeys(database, table, keys, values, narrowed))
}

function rowOf<T extends keyof Tables> (columns: readonly (keyof Tables[T] & string)[], cells: readonly Cell[]): Tables[T] {
  const row: Partial<Record<string, Cell>> = {}
  for (let i = 0; i < columns.length; i++) row[columns[i] as string] = cells[i] ?? null
  return row as unknown as Tables[T]
}

/**
 * The rows of any query over given rows; one statement. `shape` names the query: the same name must always build the same
 * text, with no other parameter in it than the given rows.
 */
export function givenRows<R> (
  database: Database, shape: string, columns: readonly (readonly [name: string, type: ColumnType])[], values: readonly (readonly Cell[])[],
  build: (given: RawBuilder<unknown>) => RawBuilder<R>
): Question<R[]> {
  const query = values.length === 0 ? null : statement<R>(database, shape, JSON.stringify(values), () => build(jsonRows(database.engine, columns, [])))
  return { query, read: rows => rows as R[] }
}

/**
 * Inserts the rows, or replaces those with the same `keys`, all but what never changes (`FIXED_COLUMNS`) and the columns
 * that `stay` in a row that is there. The same key must not come twice in one call. On SQLite, several rows are one change
 * only in a transaction.
 */
export async function upsert<T extends keyof Tables> (
  database: Database, table: T, keys: readonly (keyof Tables[T] & string)[], rows: readonly Tables[T][], stay: readonly (keyof Tables[T] & string)[] = []
): Promise<void> {
  await insertRows(database, table, Object.keys(COLUMN_TYPES[table]) as (keyof Tables[T] & string)[], rows, keys, stay)
}

/** Inserts the rows with the given columns only, so that the engine may fill in the others. */
export async function insertRows<T extends keyof Tables, C extends keyof Tables[T] & string> (
  database: Database, table: T, columns: readonly C[], rows: readonly Pick<Tables[T], C>[], keys: readonly string[] = [], stay: readonly string[] = []
): Promise<void> {
  if (rows.length === 0) return
  const shape = `insert ${table} ${columns.join(' ')} / ${keys.join(' ')} / ${stay.join(' ')}`
  const cells = rows.map(row => columns.map(column => row[column] as Cell))
  if (database.runEach) {
    database.runEach(count => textOf(database, `${shape} / ${count}`, () => insertion(table, columns, keys, stay, places(columns.length, count))), cells)
    return
  }
  await database.kysely.executeQuery(statement(database, shape, JSON.stringify(cells), () => {
    const given = jsonRows(database.engine, columns.map(column => [column, COLUMN_TYPES[table][column]]), [])
    return insertion(table, columns, keys, stay, sql`select * from ${given} as given`)
  }))
}

function insertion<T extends keyof Tables> (table: T, columns: readonly (keyof Tables[T] & string)[], keys: readonly string[], stay: readonly string[], rows: RawBuilder<unknown>): RawBuilder<unknown> {
  const into = sql.join(columns.map(column => sql.ref(column)))
  const stays = new Set<string>([...keys, ...stay, ...FIXED_COLUMNS[table] ?? []])
  const replaced = columns.filter(column => !stays.has(column)).map(column => sql`${sql.ref(column)} = excluded.${sql.ref(column)}`)
  const onConflict = keys.length === 0 ? sql`` : sql` on conflict (${sql.join(keys.map(key => sql.ref(key)))}) do update set ${sql.join(replaced)}`
  return sql`insert into ${sql.table(table)} (${into}) ${rows}${onConflict}`
}

/** `values (?, ?), (?, ?)` */
function places (columns: number, rows: number): RawBuilder<unknown> {
  const row = `(${new Array(columns).fill('?').join(', ')})`
  return sql.raw(`values ${new Array(rows).fill(row).join(', ')}`)
}

/** The text of a statement of this shape, which takes its rows' cells. */
function textOf ({ kysely }: Database, shape: string, build: () => RawBuilder<unknown>): string {
  let text = texts.get(shape)
  if (text === undefined) texts.set(shape, text = build().compile(kysely).sql)
  return text
}
