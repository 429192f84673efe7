// The files of the document's page as texts, for whoever wants to read them.

import page from '../document.ts?raw'
import type { SourceFile } from '../source'

const beside = import.meta.glob<string>(['./*.ts', '!./source.ts'], { query: '?raw', import: 'default', eager: true })

export const FILES: readonly SourceFile[] = [
  { name: 'document.ts', text: page },
  ...Object.entries(beside).map(([path, text]) => ({ name: path.replace('./', 'editor/'), text })),
]
