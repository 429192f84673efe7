// A whiteboard: shapes in a Yjs map, drawn as SVG. What stays is in the document; what is true only now, a pointer or a
// line that is being drawn, is in the awareness.

import { ArrowUpRight, Maximize, Minus, MousePointer2, PenLine, Plus, Redo2, Square, StickyNote, Trash2, Undo2, type IconNode } from 'lucide'
import * as Y from 'yjs'

import { h, icon } from '../dom'
import { NOBODY, inkOn, profileFrom, type Profile } from '../profile'
import type { Mounted, Shared } from './shared'

const KINDS = ['line', 'arrow', 'box', 'note'] as const
const COLORS = ['ink', 'blue', 'green', 'orange', 'red', 'violet'] as const

/** Everything is a place, a size and a colour; `line` has its points from that place on, a `note` its text. */
interface Shape {
  readonly kind: (typeof KINDS)[number]
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
  readonly color: string
  /** The order in which shapes lie on each other. */
  readonly z: number
  readonly points?: readonly number[]
  readonly text?: string
}

interface Point {
  readonly x: number
  readonly y: number
}

type Tool = 'select' | Shape['kind']

const NOTE = { width: 180, height: 140 }

export function mountBoard({ doc, awareness, say }: Shared): Mounted {
  const shapes = doc.getMap<unknown>('board')
  const undo = new Y.UndoManager(shapes)
  const layer = s('g')
  const drawing = s('g')
  const pointers = s('g')
  const svg = s('svg', { class: 'board', tabindex: '0', role: 'group', 'aria-label': 'Board: N adds a note, B a box' }, layer, drawing, pointers)
  const hint = h('p', { class: 'board-hint' }, 'Draw something, or put up a note. ', h('span', { class: 'keys' }, 'N adds a note, B a box.'))
  const surface = h('div', { class: 'paper surface' }, svg, hint)
  let tool: Tool = 'line'
  let color: string = 'ink'
  let editable = false
  /** What of the board is seen: its upper left corner, and how large a unit is. */
  let view = { x: 0, y: 0, scale: 1 }

  // The board as it is.
  const elements = new Map<string, { readonly value: unknown; readonly element: SVGElement }>()
  const shapeOf = (id: string): Shape | null => shapeFrom(shapes.get(id))
  const show = (): void => {
    const inOrder = [...shapes].flatMap(([id, value]) => {
      const shape = shapeFrom(value)
      return shape === null ? [] : [{ id, value, shape }]
    }).sort((a, b) => a.shape.z - b.shape.z || (a.id < b.id ? -1 : 1))
    for (const [id, { element }] of elements) {
      if (shapes.has(id)) continue
      element.remove()
      elements.delete(id)
    }
    for (const { id, value, shape } of inOrder) {
      const before = elements.get(id)
      if (before?.value === value) continue
      const isFocused = before?.element === document.activeElement
      const element = draw(shape)
      element.dataset['id'] = id
      if (before === undefined) layer.append(element)
      else before.element.replaceWith(element)
      grow(element)
      if (isFocused) element.focus()
      elements.set(id, { value, element })
    }
    placeNote()
    begin()
    showHint()
  }
  const showHint = (): void => {
    hint.hidden = !editable || shapes.size > 0 || mine !== null
  }
  shapes.observe(show)

  // The others: their pointers, and what they are drawing.
  const showOthers = (): void => {
    const others = [...awareness.getStates()].filter(([client]) => client !== awareness.clientID)
    pointers.replaceChildren(...others.flatMap(([, state]) => {
      const at = pointFrom(state['pointer'])
      return at === null ? [] : [pointerOf(at, profileFrom(state['user']) ?? NOBODY, view.scale)]
    }))
    drawing.replaceChildren(...[...others.map(([, state]) => shapeFrom(state['drawing'])), mine].flatMap((shape) => (shape === null ? [] : [draw(shape)])))
  }
  let mine: Shape | null = null
  const tell = (shape: Shape | null): void => {
    mine = shape
    awareness.setLocalStateField('drawing', shape)
    showHint()
  }
  awareness.on('change', showOthers)

  const look = (): void => {
    const { width, height } = svg.getBoundingClientRect()
    svg.setAttribute('viewBox', `${view.x} ${view.y} ${Math.max(1, width) / view.scale} ${Math.max(1, height) / view.scale}`)
    placeNote()
    showOthers()
  }
  const resizes = new ResizeObserver(() => {
    // What is not shown has no height.
    for (const { element } of elements.values()) grow(element)
    look()
    begin()
  })
  resizes.observe(svg)
  const placeOf = ({ clientX, clientY }: { clientX: number; clientY: number }): Point => {
    const { left, top } = svg.getBoundingClientRect()
    return { x: Math.round(view.x + (clientX - left) / view.scale), y: Math.round(view.y + (clientY - top) / view.scale) }
  }
  const middle = (): Point => {
    const { left, top, width, height } = svg.getBoundingClientRect()
    return placeOf({ clientX: left + width / 2, clientY: top + height / 2 })
  }
  const zoom = (factor: number, around = middle()): void => {
    const scale = Math.min(4, Math.max(0.25, view.scale * factor))
    const kept = view.scale / scale
    view = { x: around.x - (around.x - view.x) * kept, y: around.y - (around.y - view.y) * kept, scale }
    look()
  }

  /** Shows all that is on the board, at most as large as it is. */
  const fit = (): void => {
    const box = layer.getBBox()
    const { width, height } = svg.getBoundingClientRect()
    if (box.width + box.height === 0 || width === 0) return
    const scale = Math.min(1, Math.max(0.25, Math.min(width / (box.width + 80), height / (box.height + 80))))
    view = { x: box.x + (box.width - width / scale) / 2, y: box.y + (box.height - height / scale) / 2, scale }
    look()
  }
  let hasBegun = false
  /** Who comes to a board sees what is on it, however small the window is. */
  const begin = (): void => {
    const { width, height } = svg.getBoundingClientRect()
    if (hasBegun || shapes.size === 0 || width === 0) return
    hasBegun = true
    const box = layer.getBBox()
    if (box.x < 0 || box.y < 0 || box.x + box.width > width || box.y + box.height > height) fit()
  }

  // What one does.
  const add = (shape: Omit<Shape, 'z' | 'color'>): string => {
    const id = `${doc.clientID}-${Date.now()}`
    shapes.set(id, { ...shape, color, z: Date.now() })
    undo.stopCapturing()
    return id
  }
  const addNote = ({ x, y }: Point): void => {
    const id = add({ kind: 'note', x: x - NOTE.width / 2, y: y - NOTE.height / 2, ...NOTE, text: '' })
    choose('select')
    write(id)
  }
  const remove = (id: string): void => {
    undo.stopCapturing()
    shapes.delete(id)
    svg.focus()
  }
  const move = (id: string, dx: number, dy: number): void => {
    const shape = shapeOf(id)
    if (shape !== null) shapes.set(id, { ...shape, x: shape.x + dx, y: shape.y + dy })
  }
  /** Keeps the text that is being written over its note. */
  let placeNote = (): void => {}
  const write = (id: string): void => {
    const shape = shapeOf(id)
    const element = elements.get(id)?.element
    if (shape?.kind !== 'note' || element === undefined) return
    const input = h('textarea', { class: 'note-text', 'aria-label': 'Text of the note', maxlength: 500 })
    placeNote = () => {
      const now = elements.get(id)?.element
      if (now === undefined) return
      const box = now.getBoundingClientRect()
      const outer = surface.getBoundingClientRect()
      input.style.cssText = `left: ${box.left - outer.left}px; top: ${box.top - outer.top}px; width: ${box.width}px; height: ${box.height}px; font-size: ${16 * view.scale}px`
    }
    placeNote()
    input.value = shape.text ?? ''
    input.addEventListener('input', () => {
      const now = shapeOf(id)
      if (now !== null) shapes.set(id, { ...now, text: input.value })
    })
    input.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') elements.get(id)?.element.focus()
      event.stopPropagation()
    })
    input.addEventListener('blur', () => {
      placeNote = () => {}
      input.remove()
    })
    surface.append(input)
    input.focus()
  }

  // By pointer: draw, or move what is under it; with nothing under it, or two fingers, the board itself.
  const pressed = new Map<number, { readonly clientX: number; readonly clientY: number }>()
  let drag: { readonly id: string | null; at: { clientX: number; clientY: number } } | null = null
  const idUnder = ({ target }: Event): string | null => (target instanceof Element ? target.closest<SVGElement>('[data-id]')?.dataset['id'] ?? null : null)
  svg.addEventListener('pointerdown', (event) => {
    const at = placeOf(event)
    pressed.set(event.pointerId, event)
    svg.setPointerCapture(event.pointerId)
    if (pressed.size > 1 || !editable || tool === 'select' || event.button === 1) {
      tell(null)
      drag = { id: editable && pressed.size === 1 && event.button === 0 ? idUnder(event) : null, at: event }
    } else if (tool !== 'note') tell({ kind: tool, ...at, width: 0, height: 0, color, z: 0, points: [] })
  })
  svg.addEventListener('pointermove', (event) => {
    const at = placeOf(event)
    awareness.setLocalStateField('pointer', at)
    if (!pressed.has(event.pointerId)) return
    if (pressed.size === 2) pinch(event)
    else if (drag !== null) {
      const [dx, dy] = [(event.clientX - drag.at.clientX) / view.scale, (event.clientY - drag.at.clientY) / view.scale]
      if (drag.id === null) view = { ...view, x: view.x - dx, y: view.y - dy }
      else move(drag.id, Math.round(dx), Math.round(dy))
      drag.at = event
      look()
    } else if (mine !== null) {
      const points = mine.kind === 'line' ? [...(mine.points ?? []), at.x - mine.x, at.y - mine.y] : []
      tell({ ...mine, width: at.x - mine.x, height: at.y - mine.y, points })
      showOthers()
    }
  })
  /** Two fingers move the board, and make it larger and smaller. */
  const pinch = (event: PointerEvent): void => {
    const before = between([...pressed.values()])
    pressed.set(event.pointerId, event)
    const after = between([...pressed.values()])
    view = { ...view, x: view.x - (after.clientX - before.clientX) / view.scale, y: view.y - (after.clientY - before.clientY) / view.scale }
    zoom(after.length / before.length, placeOf(after))
  }
  svg.addEventListener('pointerup', (event) => {
    pressed.delete(event.pointerId)
    const [left] = pressed.values()
    // The other finger goes on alone.
    if (left !== undefined) return void (drag = { id: null, at: left })
    if (drag !== null) undo.stopCapturing()
    else if (tool === 'note' && editable) addNote(placeOf(event))
    else if (mine !== null && (Math.abs(mine.width) > 2 || Math.abs(mine.height) > 2 || (mine.points?.length ?? 0) > 4)) {
      const { z: _, color: __, ...shape } = mine
      add(shape.kind === 'box' ? upright(shape) : shape)
    }
    drag = null
    tell(null)
    showOthers()
  })
  svg.addEventListener('pointercancel', ({ pointerId }) => {
    pressed.delete(pointerId)
    drag = null
    tell(null)
  })
  svg.addEventListener('pointerleave', () => awareness.setLocalStateField('pointer', null))
  svg.addEventListener('dblclick', (event) => {
    const id = idUnder(event)
    if (id !== null && editable) write(id)
  })
  svg.addEventListener('wheel', (event) => {
    event.preventDefault()
    if (event.ctrlKey || event.metaKey) return zoom(event.deltaY < 0 ? 1.1 : 1 / 1.1, placeOf(event))
    view = { ...view, x: view.x + event.deltaX / view.scale, y: view.y + event.deltaY / view.scale }
    look()
  }, { passive: false })

  // By keyboard: Tab goes from shape to shape.
  const STEPS: Readonly<Record<string, readonly [number, number]>> = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }
  surface.addEventListener('keydown', (event) => {
    const id = idUnder(event)
    const step = STEPS[event.key]
    if (step !== undefined && id !== null && editable) move(id, ...step)
    else if (step !== undefined) {
      view = { ...view, x: view.x + 4 * step[0], y: view.y + 4 * step[1] }
      look()
    } else if (!editable) return
    else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'z') void (event.shiftKey ? undo.redo() : undo.undo())
    else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'y') void undo.redo()
    else if (event.ctrlKey || event.metaKey || event.altKey) return
    else if (event.key === 'n') addNote(middle())
    else if (event.key === 'b') add({ kind: 'box', x: middle().x - 90, y: middle().y - 60, width: 180, height: 120 })
    else if (id !== null && (event.key === 'Delete' || event.key === 'Backspace')) remove(id)
    else if (id !== null && event.key === 'Enter') write(id)
    else return
    event.preventDefault()
  })

  // The tools.
  const chosen: HTMLElement[] = []
  const choose = (next: Tool): void => {
    tool = next
    svg.dataset['tool'] = next
    for (const button of chosen) if (button.dataset['tool'] !== undefined) button.setAttribute('aria-pressed', String(button.dataset['tool'] === next))
  }
  const button = (label: string, node: IconNode, run: () => void, of?: Tool): HTMLElement => {
    const element = h('button', { type: 'button', class: 'tool', 'aria-label': label, title: label, 'aria-pressed': of === undefined ? null : String(of === tool) })
    if (of !== undefined) element.dataset['tool'] = of
    element.append(icon(node))
    element.addEventListener('click', run)
    chosen.push(element)
    return element
  }
  const colors = COLORS.map((value) => {
    const radio = h('input', { type: 'radio', name: 'board-color', value, 'aria-label': value, checked: value === color })
    radio.addEventListener('change', () => (color = value))
    return h('label', { class: `swatch small ${value}`, title: value }, radio)
  })
  const tools = h('div', { class: 'toolbar', role: 'group', 'aria-label': 'Drawing' },
    h('div', { role: 'group', 'aria-label': 'Tools' },
      button('Move', MousePointer2, () => choose('select'), 'select'),
      button('Draw', PenLine, () => choose('line'), 'line'),
      button('Arrow', ArrowUpRight, () => choose('arrow'), 'arrow'),
      button('Box', Square, () => choose('box'), 'box'),
      button('Note', StickyNote, () => choose('note'), 'note')),
    h('div', { role: 'group', 'aria-label': 'Colour', class: 'board-colors' }, ...colors),
    h('div', { role: 'group', 'aria-label': 'Board' },
      button('Undo', Undo2, () => void undo.undo()),
      button('Redo', Redo2, () => void undo.redo()),
      button('Show all', Maximize, fit),
      button('Smaller', Minus, () => zoom(1 / 1.25)),
      button('Larger', Plus, () => zoom(1.25)),
      button('Delete what was chosen last', Trash2, () => (last === null ? say('Choose something on the board first.') : remove(last)))))
  let last: string | null = null
  svg.addEventListener('focusin', (event) => {
    last = idUnder(event)
  })
  choose(tool)
  show()

  return {
    tools,
    element: surface,
    title: () => [...shapes.values()].map(shapeFrom).filter((shape) => shape !== null && shape.text !== '').sort((a, b) => (a?.z ?? 0) - (b?.z ?? 0))[0]?.text?.split('\n')[0] ?? '',
    isEmpty: () => shapes.size === 0,
    setEditable(now) {
      editable = now
      showHint()
    },
    jumpTo(client) {
      const pointer = pointFrom(awareness.getStates().get(client)?.['pointer'])
      if (pointer === null) return false
      const { x, y } = middle()
      view = { ...view, x: view.x + pointer.x - x, y: view.y + pointer.y - y }
      look()
      return true
    },
    file: () => ({ name: 'board.json', type: 'application/json', text: JSON.stringify(shapes.toJSON(), null, 2) }),
    destroy() {
      resizes.disconnect()
      shapes.unobserve(show)
      awareness.off('change', showOthers)
      undo.destroy()
    },
  }
}

/** The middle between two fingers, and how far they are apart, in px. */
function between(fingers: readonly { readonly clientX: number; readonly clientY: number }[]): { clientX: number; clientY: number; length: number } {
  const [one = { clientX: 0, clientY: 0 }, other = one] = fingers
  const length = Math.max(1, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY))
  return { clientX: (one.clientX + other.clientX) / 2, clientY: (one.clientY + other.clientY) / 2, length }
}

/** What is in the document or comes from others, checked: it can be anything. */
function shapeFrom(value: unknown): Shape | null {
  if (typeof value !== 'object' || value === null) return null
  const { kind, x, y, width, height, color, z, points, text } = value as Record<string, unknown>
  const known = KINDS.find((one) => one === kind)
  if (known === undefined || ![x, y, width, height, z].every(Number.isFinite)) return null
  const numbers = { x, y, width, height, z } as { x: number; y: number; width: number; height: number; z: number }
  return { kind: known, ...numbers, color: typeof color === 'string' ? color : '', points: Array.isArray(points) && points.every(Number.isFinite) ? points : [], text: typeof text === 'string' ? text : '' }
}

function pointFrom(value: unknown): Point | null {
  if (typeof value !== 'object' || value === null) return null
  const { x, y } = value as Record<string, unknown>
  return Number.isFinite(x) && Number.isFinite(y) ? { x, y } as Point : null
}

function draw({ kind, x, y, width, height, color, points = [], text = '' }: Shape): SVGElement {
  const name = kind === 'note' ? `Note: ${text || 'empty'}` : { line: 'A line', arrow: 'An arrow', box: 'A box' }[kind]
  const group = s('g', { class: `shape ${COLORS.find((one) => one === color) ?? 'ink'}`, transform: `translate(${x} ${y})`, tabindex: '0', role: 'img', 'aria-label': name })
  switch (kind) {
    case 'line':
      group.append(s('path', { d: pathOf(points) }))
      break
    case 'arrow': {
      const angle = Math.atan2(height, width)
      const wing = (turn: number): string => `${width - 16 * Math.cos(angle + turn)} ${height - 16 * Math.sin(angle + turn)}`
      group.append(s('path', { d: `M0 0L${width} ${height}M${wing(0.45)}L${width} ${height}L${wing(-0.45)}` }))
      break
    }
    case 'box': {
      const { x: left, y: top, width: w, height: t } = upright({ x: 0, y: 0, width, height })
      group.append(s('rect', { x: left, y: top, width: w, height: t, rx: 8 }))
      break
    }
    case 'note': {
      const paper = s('rect', { class: 'note', width, height, rx: 6 })
      const words = s('foreignObject', { width, height })
      words.append(h('div', { class: 'note-words' }, text))
      group.append(paper, words)
      break
    }
  }
  return group
}

/** A note is as high as its text: what somebody wrote is seen. */
function grow(element: SVGElement): void {
  const words = element.querySelector('.note-words')
  if (words === null) return
  for (const part of element.querySelectorAll('.note, foreignObject')) part.setAttribute('height', String(Math.max(Number(part.getAttribute('height')), words.scrollHeight)))
}

function upright<T extends Point & { width: number; height: number }>(shape: T): T {
  return { ...shape, x: Math.min(shape.x, shape.x + shape.width), y: Math.min(shape.y, shape.y + shape.height), width: Math.abs(shape.width), height: Math.abs(shape.height) }
}

/** A soft line through the middles between points. */
function pathOf(points: readonly number[]): string {
  let path = 'M0 0'
  for (let i = 0; i + 3 < points.length; i += 2) {
    const [x = 0, y = 0, nextX = 0, nextY = 0] = points.slice(i, i + 4)
    path += `Q${x} ${y} ${(x + nextX) / 2} ${(y + nextY) / 2}`
  }
  return `${path}L${points.at(-2) ?? 0} ${points.at(-1) ?? 0}`
}

function pointerOf({ x, y }: Point, { name, color }: Profile, scale: number): SVGElement {
  const label = s('text', { x: 16, y: 30 })
  label.textContent = name
  const arrow = s('path', { d: 'M0 0L5 17L9 10L16 8Z' })
  arrow.style.fill = label.style.stroke = color
  label.style.fill = inkOn(color)
  return s('g', { class: 'pointer', transform: `translate(${x} ${y}) scale(${1 / scale})` }, arrow, label)
}

function s<K extends keyof SVGElementTagNameMap>(tag: K, attributes: Readonly<Record<string, string | number>> = {}, ...children: SVGElement[]): SVGElementTagNameMap[K] {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value))
  element.append(...children)
  return element
}
