// What the page says about saving. Pure: the same view always gives the same words.

import type { SavedView } from '../track-saved/track-saved'
import { unreachable } from './dom'

/** Whether this browser keeps a copy of the document; `writing` while the last edits are not in it yet. */
export type LocalCopy = 'opening' | 'writing' | 'kept' | 'unavailable'

export type Tone = 'good' | 'busy' | 'warning'

export interface Status {
  readonly tone: Tone
  readonly text: string
}

/** `isBarred`: the server is there, and does not let this page in. `ahead`: this window shows insertions that the server did not have when it was joined last. */
export function statusOf(saved: SavedView, isBarred: boolean, copy: LocalCopy, readOnly: boolean, ahead: boolean): Status {
  switch (saved.state) {
    case 'connecting':
      return { tone: 'busy', text: 'Connecting…' }
    case 'offline':
      return { tone: 'warning', text: awayText(isBarred ? 'Not connected' : 'Offline', copy, readOnly) }
    case 'saving':
      return readOnly ? { tone: 'good', text: 'Up to date' } : { tone: 'busy', text: 'Saving…' }
    case 'delayed':
    case 'unknown':
      return { tone: 'warning', text: 'Not saved yet: the server cannot store right now' }
    case 'incomplete':
      return { tone: 'warning', text: 'Not saved yet: the server lacks edits that yours build on' }
    case 'refused':
      return { tone: 'warning', text: 'Not connected' }
    case 'conflict':
      return { tone: 'warning', text: 'Your last edits are only in this window' }
    case 'readonly':
      if (ahead) return { tone: 'warning', text: 'Edits made in this browser were not taken' }
      return { tone: 'good', text: 'Up to date' }
    case 'saved':
      return { tone: 'good', text: 'Saved' }
    default:
      return unreachable(saved.state)
  }
}

function awayText(how: string, copy: LocalCopy, readOnly: boolean): string {
  if (readOnly) return `${how}, this may not be the latest version`
  switch (copy) {
    case 'kept':
      return `${how}, your edits are kept in this browser`
    case 'writing':
      return `${how}, keeping your edits in this browser…`
    case 'opening':
      return how
    case 'unavailable':
      return `${how}: your edits are only in this window, keep it open`
    default:
      return unreachable(copy)
  }
}
