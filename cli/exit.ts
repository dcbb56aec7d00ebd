// Exit codes of the command line (README.md).
export const EXIT = { done: 0, refused: 1, usage: 2, unreachable: 3, stopped: 130 } as const
