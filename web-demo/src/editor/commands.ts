// What can be put in or turned into something else: for the toolbar, for "/" and for tables.

import type { ChainedCommands, Editor } from '@tiptap/core'
import {
  BetweenHorizontalEnd, BetweenVerticalEnd, Code, Columns2, Heading1, Heading2, Heading3, Image, List, ListOrdered, ListTodo, Minus, Pilcrow, Quote,
  Rows2, SquareCode, Table, Trash2, type IconNode,
} from 'lucide'

import { choosePicture } from './insert'

export interface Block {
  readonly label: string
  readonly icon: IconNode
  /** By what else it is found. */
  readonly words: string
  /** What one may type instead. */
  readonly typed?: string
  run(editor: Editor, chain: ChainedCommands): void
}

function block(label: string, icon: IconNode, words: string, typed: string | undefined, run: (chain: ChainedCommands) => ChainedCommands): Block {
  return { label, icon, words, ...(typed === undefined ? {} : { typed }), run: (_, chain) => void run(chain).run() }
}

export const BLOCKS: readonly Block[] = [
  block('Text', Pilcrow, 'paragraph plain', undefined, (chain) => chain.setParagraph()),
  block('Heading 1', Heading1, 'title h1', '#', (chain) => chain.setHeading({ level: 1 })),
  block('Heading 2', Heading2, 'h2', '##', (chain) => chain.setHeading({ level: 2 })),
  block('Heading 3', Heading3, 'h3', '###', (chain) => chain.setHeading({ level: 3 })),
  block('Bullet list', List, 'unordered points', '-', (chain) => chain.toggleBulletList()),
  block('Numbered list', ListOrdered, 'ordered', '1.', (chain) => chain.toggleOrderedList()),
  block('Task list', ListTodo, 'todo checkbox', '[ ]', (chain) => chain.toggleTaskList()),
  block('Quote', Quote, 'blockquote citation', '>', (chain) => chain.toggleBlockquote()),
  block('Code block', SquareCode, 'pre fence program', '```', (chain) => chain.setCodeBlock()),
  block('Table', Table, 'grid rows columns', undefined, (chain) => chain.insertTable({ rows: 3, cols: 3, withHeaderRow: true })),
  { label: 'Picture', icon: Image, words: 'image photo', run: (editor, chain) => {
    chain.run()
    choosePicture(editor)
  } },
  block('Divider', Minus, 'rule line', '---', (chain) => chain.setHorizontalRule()),
  block('Code in a line', Code, 'inline', '`', (chain) => chain.toggleCode()),
]

/** What "/" offers first in a table, and the row of tools above it. */
export const TABLE_BLOCKS: readonly Block[] = [
  block('Add a row', BetweenVerticalEnd, 'table insert', undefined, (chain) => chain.addRowAfter()),
  block('Add a column', BetweenHorizontalEnd, 'table insert', undefined, (chain) => chain.addColumnAfter()),
  block('Delete the row', Rows2, 'table remove', undefined, (chain) => chain.deleteRow()),
  block('Delete the column', Columns2, 'table remove', undefined, (chain) => chain.deleteColumn()),
  block('Delete the table', Trash2, 'table remove', undefined, (chain) => chain.deleteTable()),
]
