// Who may do what with which topic. Pure: the topic alone decides, as there are no users yet.
import { isServicesOwn } from '../shared/topics.js'

/** Whether a network client may publish here. Only parkmq writes what parkmq vouches for. */
export function mayPublish (topic: string): boolean {
  return !isServicesOwn(topic)
}

/**
 * Whether a message that a service has taken may go on to subscribers. Requests carry plates and secrets: they are for
 * the service alone. What sensors say is public.
 */
export function mayForward (topic: string): boolean {
  return !topic.startsWith('requests/')
}
