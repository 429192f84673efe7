'use client'
// The React hook. React is the page's own.

import { useEffect, useState } from 'react'

import { type SavedView, type TrackableProvider, trackSaved, type TrackSavedOptions, warnBeforeLeaving } from './track-saved.js'

export interface UseSavedOptions extends TrackSavedOptions {
  /** Whether the browser asks before the page is left with something neither saved nor kept; it does unless this is false. */
  readonly warn?: boolean
}

/** What is known of a provider that is not there yet. */
const BEFORE: SavedView = { state: 'connecting', unsavedSince: null, incompleteSince: null, closed: null, kept: false }

/**
 * Whether everything that was written here is durable on the server. The provider is followed while the component is
 * there; make it in an effect, or outside of React, and not while rendering. Of the options `provider`, `copy` and `warn`
 * may change; the others count as they were when the provider came.
 */
export function useSaved(provider: TrackableProvider | null | undefined, options: UseSavedOptions = {}): SavedView {
  const [view, setView] = useState(BEFORE)
  const { copy, warn = true } = options
  useEffect(() => {
    if (!provider) return
    const saved = trackSaved(provider, options)
    saved.subscribe(setView)
    const stopWarning = warn ? warnBeforeLeaving(saved) : null
    return () => {
      stopWarning?.()
      saved.destroy()
      setView(BEFORE)
    }
  }, [provider, copy, warn])
  return view
}
