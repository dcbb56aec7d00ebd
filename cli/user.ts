// `parkmq user add | remove | passwd | list`: the users file, changed safely. Passwords come from a terminal or a pipe,
// hashes leave it never.
import { Command, Option } from 'commander'
import { generatePassword, hashPassword } from '../broker/password.js'
import { defaultUsersFile, editUsersFile, readUsersFile, UserEntry } from '../broker/users-file.js'
import { ROLES } from '../shared/access.js'
import { loadConfig } from '../shared/config.js'
import { OperatorError } from '../shared/errors.js'
import { firstIssue } from '../shared/schemas.js'
import { passwordFromPerson, passwordFromPipe } from './prompt.js'
import { table } from './table.js'

interface FileOptions {
  users?: string
  data?: string
  config?: string
  json?: boolean
}

interface PasswordOptions extends FileOptions {
  passwordStdin?: boolean
  generate?: boolean
}

interface AddOptions extends PasswordOptions {
  role: (typeof ROLES)[number]
  lot?: string[]
  certificate?: string
}

const FILE_HELP = `
The users file is the one of --users, PARKMQ_USERS or the setting users; without any of them users.yaml in the data
folder (--data, PARKMQ_DATA), which \`parkmq start\` uses by itself when it is there. A running parkmq takes changes of
its users file within seconds: whoever is removed or changed is disconnected.`

export function userCommand (): Command {
  return new Command('user')
    .description('say who may log in: the users file')
    .addHelpText('after', FILE_HELP)
    .addCommand(addCommand())
    .addCommand(removeCommand())
    .addCommand(passwdCommand())
    .addCommand(listCommand())
}

function addCommand (): Command {
  return withPassword(withFile(new Command('add')))
    .description('add a user; the first one makes the users file')
    .argument('<name>', 'letters, digits, . _ -; at most 64')
    .addOption(new Option('--role <role>', 'what the user may do (parkmq doctor --access)').choices(ROLES).makeOptionMandatory())
    .option('--lot <id...>', 'lots that a device speaks for; \'*\' for all')
    .option('--certificate <common name>', 'log in with a client certificate of this name; without a password option that is the only way')
    .addHelpText('after', `${FILE_HELP}\n\nExamples:\n  parkmq user add gate-1 --role device --lot LOT-A --generate\n  parkmq user add olga --role operator\n  parkmq user add cam-1 --role device --lot LOT-B LOT-C --certificate cam-1`)
    .action(async (name: string, options: AddOptions) => {
      const { file, isUsual } = fileOf(options)
      const parsed = UserEntry.safeParse({
        name, role: options.role, ...(options.lot && { lots: options.lot }),
        ...(options.certificate !== undefined && { certificate: options.certificate }), addedAt: new Date().toISOString()
      })
      if (!parsed.success) throw new OperatorError('usage', `wrong user: ${firstIssue(parsed.error)}`)
      const user = parsed.data
      if (user.lots && user.role !== 'device') throw new OperatorError('usage', `--lot is for devices, and ${name} would be ${user.role}`)
      if (user.role === 'device' && !user.lots) note(`without --lot ${name} may send nothing about any lot, only its own status and camera frames`)
      const absent = (users: readonly UserEntry[]): void => {
        if (users.some(other => other.name === user.name)) throw new OperatorError('user_exists', `there is a user ${name} in ${file} already; change the password with \`parkmq user passwd\`, anything else in the file`)
      }
      // Nobody should think of a password in vain; it is asked again when the file is changed.
      absent(await readUsersFile(file).catch(error => error instanceof OperatorError && error.code === 'no_users_file' ? [] : Promise.reject(error as Error)))
      const { hash, shown } = await passwordOf(name, options, options.certificate !== undefined)
      const { made } = await editUsersFile(file, users => {
        absent(users)
        return [...users, hash === null ? user : withHash(user, hash)]
      }, { make: true })
      if (options.json) print({ file, user: shownUser(user, hash !== null), ...(shown !== null && { password: shown }) })
      else {
        say(`added ${describe(user)} to ${file}`)
        if (shown !== null) say(`password: ${shown}\nThis is the only time it is shown.`)
      }
      if (made) {
        note(`${file} is new: parkmq takes it at its next start, and from then on asks everybody for a user name`)
        note(isUsual ? `start it with \`parkmq start${startFlag(options.data, '--data')}\`` : `start it with \`parkmq start --users ${file}\``)
      }
    })
}

function removeCommand (): Command {
  return withFile(new Command('remove'))
    .description('remove a user, who is then disconnected')
    .argument('<name>')
    .action(async (name: string, options: FileOptions) => {
      const { file } = fileOf(options)
      await editUsersFile(file, users => {
        present(users, name, file)
        return users.filter(user => user.name !== name)
      })
      if (options.json) print({ file, removed: name })
      else say(`removed ${name} from ${file}`)
    })
}

function passwdCommand (): Command {
  return withPassword(withFile(new Command('passwd')))
    .description('give a user another password')
    .argument('<name>')
    .action(async (name: string, options: PasswordOptions) => {
      const { file } = fileOf(options)
      present(await readUsersFile(file), name, file)
      const { hash, shown } = await passwordOf(name, options, false)
      await editUsersFile(file, users => {
        present(users, name, file)
        return users.map(user => user.name === name && hash !== null ? { ...user, password: hash } : user)
      })
      if (options.json) print({ file, user: name, ...(shown !== null && { password: shown }) })
      else {
        say(`${name} has a new password in ${file}`)
        if (shown !== null) say(`password: ${shown}\nThis is the only time it is shown.`)
      }
    })
}

function listCommand (): Command {
  return withFile(new Command('list'))
    .description('list the users, without their hashes')
    .action(async (options: FileOptions) => {
      const { file } = fileOf(options)
      const users = (await readUsersFile(file)).map(user => shownUser(user, user.password !== undefined))
      if (options.json) return print({ file, users })
      const rows = users.map(user => [user.name, user.role, user.lots?.join(', ') ?? null, user.password ? 'yes' : 'no', user.certificate, user.addedAt?.slice(0, 10) ?? null])
      say(users.length === 0 ? `nobody is in ${file}: nobody can log in` : `${table(['USER', 'ROLE', 'LOTS', 'PASSWORD', 'CERTIFICATE', 'ADDED'], rows)}\n\n${file}`)
    })
}

function withFile (command: Command): Command {
  return command
    .option('--users <file>', 'the users file (PARKMQ_USERS; default users.yaml in the data folder)')
    .option('--data <folder>', 'folder of the ledger (PARKMQ_DATA; default ./data)')
    .option('--config <file>', 'settings in YAML or JSON (PARKMQ_CONFIG)')
    .option('--json', 'print as JSON, for programs')
}

function withPassword (command: Command): Command {
  return command
    .addOption(new Option('--password-stdin', 'take the password from standard input').conflicts('generate'))
    .addOption(new Option('--generate', 'make a password of 128 random bits and show it once; best for devices').conflicts('passwordStdin'))
}

function fileOf ({ users, data, config: file }: FileOptions): { file: string, isUsual: boolean } {
  const { config } = loadConfig({ file, flags: { users, data } })
  return { file: config.users ?? defaultUsersFile(config.data), isUsual: config.users === undefined }
}

/** `shown` is a password that nobody knows yet; both are null for a user who has only a certificate. */
async function passwordOf (name: string, { passwordStdin, generate }: PasswordOptions, mayHaveNone: boolean): Promise<{ hash: string | null, shown: string | null }> {
  if (generate) {
    const shown = generatePassword()
    return { hash: await hashPassword(shown, 'random'), shown }
  }
  if (passwordStdin) return { hash: await hashPassword(await passwordFromPipe(process.stdin), 'chosen'), shown: null }
  if (mayHaveNone) return { hash: null, shown: null }
  return { hash: await hashPassword(await passwordFromPerson(process.stdin, process.stderr, name), 'chosen'), shown: null }
}

function present (users: readonly UserEntry[], name: string, file: string): void {
  if (!users.some(user => user.name === name)) throw new OperatorError('unknown_user', `there is no user ${JSON.stringify(name)} in ${file}; \`parkmq user list\` shows who is`)
}

/** In the order in which a person reads it. */
function withHash ({ certificate, addedAt, ...user }: UserEntry, password: string): UserEntry {
  return { ...user, password, ...(certificate !== undefined && { certificate }), ...(addedAt !== undefined && { addedAt }) }
}

function shownUser ({ name, role, lots, certificate, addedAt }: UserEntry, password: boolean) {
  return { name, role, ...(lots && { lots }), password, certificate: certificate ?? name, ...(addedAt !== undefined && { addedAt }) }
}

function describe ({ name, role, lots }: UserEntry): string {
  return `${name} (${role}${lots ? ` of ${lots.map(lot => lot === '*' ? 'all lots' : lot).join(', ')}` : ''})`
}

function startFlag (value: string | undefined, flag: string): string {
  return value === undefined ? '' : ` ${flag} ${value}`
}

function say (text: string): void {
  process.stdout.write(`${text}\n`)
}

/** For the person beside the output: programs read only standard output. */
function note (text: string): void {
  process.stderr.write(`${text}\n`)
}

function print (result: object): void {
  process.stdout.write(`${JSON.stringify(result)}\n`)
}
