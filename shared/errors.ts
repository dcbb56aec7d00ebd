// Every code that parkmq answers, logs or counts: what it means and what the caller should do. A code is stable: it is
// never renamed and never used again for something else. docs/errors.md is made from this table.

export const ERRORS = {
  // Requests.
  bad_request: { meaning: 'the body is not what the method takes', action: 'correct the request; sending it again unchanged cannot succeed' },
  unknown_method: { meaning: 'no method has this name', action: 'use a name from the list that `info` gives' },
  unknown_lot: { meaning: 'no lot has this id', action: 'use an id from `lots`' },
  lot_exists: { meaning: 'a lot with this id is there already', action: 'choose another id, or change the lot with `lot.set`' },
  lot_full: { meaning: 'no place is free for the time asked for', action: 'try another lot, another time, or `wait`' },
  lot_closed: { meaning: 'the lot is closed', action: 'try another lot' },
  lot_in_use: { meaning: 'the lot still has live reservations', action: 'cancel them or wait until they end' },
  unknown_reservation: { meaning: 'no reservation fits', action: 'check the id, or lot and plate' },
  not_yours: { meaning: 'the reservation is another\'s, and the secret is missing or wrong', action: 'send the secret that `reserve`, `book` or `wait` returned, or log in as the user who made it' },
  already_arrived: { meaning: 'the car is in already', action: 'use `depart` when it leaves' },
  already_cancelled: { meaning: 'the reservation was cancelled before', action: 'nothing' },
  still_waiting: { meaning: 'it is on the waiting list and has no place yet', action: 'wait for the message on the Response Topic, or `cancel` to leave the list' },
  too_early: { meaning: 'the window of the booking has not begun', action: 'come when it begins, or `change` it to an earlier time' },
  window_past: { meaning: 'the time asked for is over', action: 'ask for a time to come' },
  not_arrived: { meaning: 'the car has not arrived', action: 'use `arrive` first, or `cancel`' },
  reservation_ended: { meaning: 'the reservation is over: it has expired, nobody came, or the car has left', action: 'reserve again' },
  no_tariff: { meaning: 'the lot has no tariff', action: 'name one of the settings with `lot.set`' },
  unknown_permit: { meaning: 'no permit has this id', action: 'use an id from `permits`' },
  sold_out: { meaning: 'no permit of this kind is left', action: 'choose another permit, or ask later' },
  request_id_reused: { meaning: 'this requestId was used with another body', action: 'make a new requestId for a new request' },
  over_limit: { meaning: 'a named limit is reached', action: 'see the message for the limit and its value' },
  unavailable: { meaning: 'the ledger cannot be written now; nothing was changed', action: 'send the same request again later, with the same requestId' },
  internal: { meaning: 'a fault of parkmq; nothing was changed', action: 'report it with the log line of that time' },
  // The way back.
  no_response_topic: { meaning: 'the request names no Response Topic (MQTT 3.1.1: no replyTo)', action: 'name one, such as replies/me' },
  forbidden_response_topic: { meaning: 'the Response Topic is one that parkmq or its devices write, or another user\'s', action: 'use a topic under replies/; with users, under replies/{user}/' },
  // Sensor messages.
  bad_message: { meaning: 'the payload is none of the four sensor forms', action: 'see the message for the field' },
  bad_topic: { meaning: 'the topic has no valid lot id or method', action: 'ids match [A-Za-z0-9][A-Za-z0-9._-]{0,63}' },
  unknown_bay: { meaning: 'the lot lists its bays and this one is not among them', action: 'add the bay with `lot.set`, or correct the id' },
  too_large: { meaning: 'the payload is larger than its limit, or the picture has more pixels than its limit', action: 'send less at once' },
  // Camera frames.
  unknown_camera: { meaning: 'no camera of this name is set up where the frame came', action: 'put its configuration into the folder of `--cameras`, or correct the name' },
  bad_image: { meaning: 'the picture is corrupt, truncated or empty', action: 'send a whole JPEG or PNG' },
  wrong_type: { meaning: 'the picture is neither JPEG nor PNG, or its content type is another', action: 'send one of these' },
  wrong_size: { meaning: 'the picture has another shape than the camera\'s configuration', action: 'send the shape that the bays were drawn on, or calibrate the camera again' },
  not_allowed: { meaning: 'this client may not publish on this topic, call this method or speak for this sensor', action: 'do what your role may do; `parkmq doctor --access` prints it' }
} as const satisfies Record<string, { meaning: string, action: string }>

/** A stable error code. */
export type ErrorCode = keyof typeof ERRORS

/** A refusal as a value: what an error reply carries. */
export interface Refusal {
  readonly code: ErrorCode
  /** One sentence that names the value and the fix. */
  readonly message: string
}

/**
 * The ledger could not be read or written (disk full, read-only, I/O error, busy, database away). Nothing of the batch
 * was committed. It is never a refusal: the batch is held and tried again (docs/decisions/003).
 */
export class UnavailableError extends Error {
  readonly code = 'unavailable'
  constructor (message: string, options: { cause: unknown }) {
    super(message, options)
    this.name = 'UnavailableError'
  }
}

/**
 * What this process was about to do is another's by now: nothing was changed. What it was handed is neither acknowledged nor
 * tried again; the broker hands it to the other. (docs/decisions/017)
 */
export class FencedError extends Error {
  readonly code = 'fenced'
  override readonly name = 'FencedError'
}

/** A fault that the person who started the program can mend: wrong setting, folder in use, newer file. */
export class OperatorError extends Error {
  readonly code: string
  constructor (code: string, message: string, options?: { cause: unknown }) {
    super(message, options)
    this.name = 'OperatorError'
    this.code = code
  }
}

/** The text of anything that was thrown, for a log line or a message. */
export function messageOf (error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
