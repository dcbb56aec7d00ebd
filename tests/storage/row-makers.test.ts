// A row that is made of cells has each of them in the column that the statement has read it from.
import { expect, test } from 'vitest'
import { ROW_MAKERS } from '../../storage/row-makers.js'
import { COLUMN_TYPES, type Cell, type Tables } from '../../storage/tables.js'

test.each(Object.entries(ROW_MAKERS))('%s', (table, make: (cells: readonly Cell[]) => object) => {
  const columns = Object.keys(COLUMN_TYPES[table as keyof Tables])
  expect(make(columns)).toEqual(Object.fromEntries(columns.map(column => [column, column])))
})
