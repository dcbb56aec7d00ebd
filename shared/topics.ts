// The topics of parkmq: how they are built and read. Nothing else in the project writes a topic by hand.
import type { Id } from './lot.js'

export const SENSOR_FILTER = 'lots/+/sensor'
export const REQUEST_FILTER = 'requests/+'
export const FRAME_FILTER = 'cameras/+/frame'

export const topics = {
  sensor: (lot: Id): string => `lots/${lot}/sensor`,
  free: (lot: Id): string => `lots/${lot}/free`,
  state: (lot: Id): string => `lots/${lot}/state`,
  bay: (lot: Id, bay: Id): string => `lots/${lot}/bays/${bay}`,
  events: (lot: Id): string => `lots/${lot}/events`,
  frame: (camera: Id): string => `cameras/${camera}/frame`,
  cameraStatus: (camera: Id): string => `cameras/${camera}/status`,
  request: (method: string): string => `requests/${method}`,
  nodes: (): string => 'cluster/nodes',
  serviceStatus: (service: string, node: string): string => `services/${service}/${node}/status`
}

/** The pattern of an id in a topic. */
export const ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** The lot of `lots/{lot}/sensor`, or null when the topic is another or the id is not one. */
export function lotOfSensorTopic (topic: string): Id | null {
  return middle(topic, 'lots/', '/sensor')
}

/** The lot of `lots/{lot}/{what}`, or null. */
export function lotOfTopic (topic: string, what: 'free' | 'state' | 'events'): Id | null {
  return middle(topic, 'lots/', `/${what}`)
}

/** The method of `requests/{method}`, or null. */
export function methodOfRequestTopic (topic: string): string | null {
  return middle(topic, 'requests/', '')
}

/** The camera of `cameras/{camera}/frame`, or null. */
export function cameraOfFrameTopic (topic: string): Id | null {
  return middle(topic, 'cameras/', '/frame')
}

function middle (topic: string, before: string, after: string): Id | null {
  if (!topic.startsWith(before) || !topic.endsWith(after)) return null
  const id = topic.slice(before.length, topic.length - after.length)
  return ID_PATTERN.test(id) ? id as Id : null
}

/**
 * Topics that only the services and the broker write: a client's PUBLISH there would be a forged truth. A processor of camera
 * frames may be a process of its own, and then says itself whether it is there.
 */
const SERVICES_OWN = /^(?:\$|services\/(?!camera\/[^/]+\/status$)|cluster\/|lots\/[^/]*\/(?:free|state|events|bays)(?:\/|$))/

/** Whether only parkmq itself may publish on this topic. */
export function isServicesOwn (topic: string): boolean {
  return SERVICES_OWN.test(topic)
}

const NOT_FOR_REPLIES = /^(?:lots|requests|services|cameras|sensors|cluster)(?:\/|$)|^\$|[+#]/
/** Brokers close the connection of who publishes on a topic with one of these: ours, with all replies under way. */
const NOT_IN_A_TOPIC = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u
/** mosquitto closes the connection above 200 levels. */
const MAX_REPLY_LEVELS = 32

/**
 * Whether a reply may be sent to this topic: otherwise a requester could make the service forge a count, or make an
 * external broker close the service's connection.
 */
export function mayReceiveReplies (topic: string): boolean {
  return topic.length > 0 && topic.length <= 512 && topic.split('/').length <= MAX_REPLY_LEVELS &&
    !NOT_FOR_REPLIES.test(topic) && !NOT_IN_A_TOPIC.test(topic)
}
