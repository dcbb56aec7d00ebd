// The elements of an SVG file, read strictly: whatever is not well-formed throws.

export interface Element {
  readonly name: string
  readonly attributes: Readonly<Record<string, string>>
  readonly parent: Element | null
  /** What is directly in it. */
  text: string
}

/** In the order in which they begin. Throws where a tag is not closed, an attribute is not quoted, or a character is not escaped. */
export function elementsOf (svg: string): Element[] {
  const elements: Element[] = []
  const open: Element[] = []
  const rest = svg.replace(/<(\/?)([a-zA-Z][\w:-]*)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>|([^<]+)/g, (_all, end: string, name: string | undefined, attributes: string, empty: string, text: string | undefined) => {
    const inside = open.at(-1)
    if (text !== undefined) {
      if (/&(?!(amp|lt|gt|quot|apos|#\d+);)/.test(text)) throw new Error(`a bare & in ${text}`)
      if (inside === undefined && text.trim() !== '') throw new Error(`text outside: ${text}`)
      if (inside !== undefined) inside.text += text
    } else if (end !== '') {
      if (inside?.name !== name) throw new Error(`</${name}> ends ${inside?.name}`)
      open.pop()
    } else {
      if (inside === undefined && elements.length > 0) throw new Error(`<${name}> is beside the root`)
      const element: Element = { name: name ?? '', attributes: Object.fromEntries([...attributes.matchAll(/([\w:-]+)="([^"]*)"/g)].map(([, key = '', value = '']) => [key, value] as const)), parent: inside ?? null, text: '' }
      elements.push(element)
      if (empty === '') open.push(element)
    }
    return ''
  })
  if (rest !== '') throw new Error(`not well-formed: ${rest.slice(0, 80)}`)
  if (open.length > 0) throw new Error(`<${open.at(-1)?.name}> is not closed`)
  return elements
}
