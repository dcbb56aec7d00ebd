import { expect, test } from 'vitest'
import { COMMANDS, commandsFor } from '../../cli/commands.js'

test('each command is found under its own name, so that no other is loaded for it', async () => {
  for (const { names, load } of COMMANDS) expect((await load()).map(command => command.name())).toEqual(names)
})

test('a word that is no command gets all of them, and so does none', async () => {
  for (const word of ['--help', 'help', 'stat', undefined]) expect(await commandsFor(word)).toHaveLength(COMMANDS.flatMap(({ names }) => names).length)
  expect((await commandsFor('watch')).map(command => command.name())).toEqual(['watch'])
  expect(await commandsFor('--version')).toEqual([])
})
