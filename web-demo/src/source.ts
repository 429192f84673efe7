// How a page is made: what it takes to make it again.

import { Code } from 'lucide'

import type { Command } from './menu'

export interface SourceFile {
  readonly name: string
  readonly text: string
}

/** The files of a page, all that they need from beside them, and the packages that these need, by version (see `made-of.ts`). */
export interface Made {
  readonly files: readonly SourceFile[]
  readonly packages: Readonly<Record<string, string>>
  readonly tools: Readonly<Record<string, string>>
}

/** The files are loaded when somebody asks. */
export function howItIsMade(kind: string, made: () => Promise<{ readonly default: Made }>): Command {
  const run = async (): Promise<void> => {
    const [{ showProject }, { default: all }] = await Promise.all([import('./project'), made()])
    showProject(kind, all)
  }
  return { label: 'How it is made', icon: Code, run: () => void run() }
}
