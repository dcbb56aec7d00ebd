// Lint rules: correctness, one code style, and who may import whom. Those that need types are in .oxlintrc.json.
import js from '@eslint/js'
import stylistic from '@stylistic/eslint-plugin'
import tseslint from 'typescript-eslint'

/**
 * Refuses imports by the path as it is written. Every import of our own code is relative, so the folder's name is
 * always in it.
 */
function mayNotImport (files, patterns, message) {
  return {
    files,
    rules: {
      'no-restricted-imports': ['error', { patterns: patterns.map(regex => ({ regex, message })) }]
    }
  }
}

const OUTER = String.raw`^(\.\./)+(cli|bench|tests)/`
const BROKER = String.raw`^(\.\./)+broker/`
const STORAGE = String.raw`^(\.\./)+storage/`
const SERVICES = String.raw`^(\.\./)+services/`
const ANOTHER_SERVICE = String.raw`^\.\./(occupancy|reservation|sensor-sim|camera|camera-sim)/`

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'data/', 'coverage/'] },
  js.configs.recommended,
  { files: ['**/*.ts'], extends: [tseslint.configs.recommended] },
  {
    plugins: { '@stylistic': stylistic },
    rules: {
      ...stylistic.configs.customize({ semi: false, quotes: 'single', indent: 2, braceStyle: '1tbs', arrowParens: false, commaDangle: 'never' }).rules,
      '@stylistic/space-before-function-paren': ['error', 'always'],
      '@stylistic/arrow-parens': ['error', 'as-needed'],
      '@stylistic/max-statements-per-line': 'off',
      '@stylistic/multiline-ternary': 'off',
      '@stylistic/operator-linebreak': ['error', 'after', { overrides: { '?': 'before', ':': 'before', '|': 'before' } }],
      '@stylistic/quote-props': ['error', 'as-needed'],
      'prefer-const': 'error',
      eqeqeq: ['error', 'always'],
      'max-lines': ['error', { max: 400, skipBlankLines: true }]
    }
  },
  {
    files: ['**/*.ts'],
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }]
    }
  },

  // Who may import whom. A rule for the same file replaces the one before it, so each block is whole.
  mayNotImport(['shared/**/*.ts'], [OUTER, BROKER, STORAGE, SERVICES], 'shared/ imports nothing of ours'),
  mayNotImport(['broker/**/*.ts'], [OUTER, STORAGE, SERVICES], 'broker/ imports only shared/'),
  mayNotImport(['storage/**/*.ts'], [OUTER, BROKER, SERVICES], 'storage/ imports only shared/'),
  mayNotImport(['services/**/*.ts'], [OUTER, BROKER, ANOTHER_SERVICE, SERVICES],
    'a service imports shared/ and storage/; services meet in the ledger and in messages'),
  mayNotImport(['bench/**/*.ts'], [String.raw`^(\.\./)+(cli|tests)/`], 'cli/ imports bench/, so bench/ imports nothing of cli/'),
  mayNotImport(['cli/**/*.ts'], [String.raw`^(\.\./)+tests/`], 'cli/ imports no tests'),
  {
    files: ['services/*/core.ts', 'services/*/tariffs.ts', 'services/*/admission.ts'],
    rules: {
      'no-restricted-imports': ['error', {
        patterns: [{
          regex: String.raw`^(?!\./|\.\./\.\./shared/(lot|reservation|sensor|windows|errors|schemas|writable)\.js$)`,
          message: 'a core imports only its own files and the plain words of shared/ (lot, reservation, sensor, windows, writable, errors, schemas as types)'
        }, {
          regex: String.raw`shared/schemas\.js$`, allowTypeImports: true, message: 'a core takes schemas as types only'
        }]
      }],
      'no-restricted-globals': ['error', 'process', 'console', 'setTimeout', 'setInterval', 'fetch'],
      'no-restricted-properties': ['error',
        { object: 'Date', property: 'now', message: 'time comes in as an argument' },
        { object: 'Math', property: 'random', message: 'randomness comes in as an argument' }
      ]
    }
  },
  {
    files: ['broker/**/*.ts', 'services/**/*.ts', 'storage/**/*.ts', 'shared/**/*.ts'],
    ignores: ['shared/config.ts'],
    rules: { 'no-restricted-syntax': ['error', { selector: 'MemberExpression[object.name="process"][property.name=/^(env|exit|argv)$/]', message: 'only shared/config.ts reads the environment and only cli/ exits' }] }
  },
  { files: ['bin/*.js', '*.js', 'docs/*.mjs'], languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly', setTimeout: 'readonly', clearTimeout: 'readonly' } } }
)
