/** A value that is still being made: whoever makes it may set what others only read. */
export type Writable<T> = { -readonly [K in keyof T]: T[K] }
