// From labelled frames to a camera's configuration.
import type { Id } from '../../shared/lot.js'
import type { TreesConfig, TreesModel } from './camera-config.js'
import type { Point } from './classifier.js'
import { referencesOf, spotOf, type Sighting } from './sightings.js'
import { referenceText } from './reference.js'

/** The bays of a camera, and the frame they were drawn on. */
export interface Place {
  readonly width: number
  readonly height: number
  readonly bays: readonly { readonly bay: Id, readonly polygon: readonly Point[] }[]
}

/** What the operator says. */
export interface Naming { readonly camera: Id, readonly lot: Id, readonly minConfidence: number }

/** Puts the configuration together; bays that the sightings show empty get their reference. */
export function configOf (place: Place, model: TreesModel, sightings: readonly Sighting[], naming: Naming): TreesConfig {
  const references = referencesOf(sightings)
  const { width, height } = place
  return {
    version: 1,
    ...naming,
    width,
    height,
    classifier: 'trees',
    bays: place.bays.map(({ bay, polygon }) => {
      const reference = references.of(spotOf(bay, polygon, place))
      return { bay, polygon: [...polygon], ...reference && { model: { reference: referenceText(reference) } } }
    }),
    model
  }
}
