// Waiting for what no message announces.
import * as shared from '../../lib/wait.mjs'

/** Disks are slow here, and no client connects again by itself: waiting for long hides nothing. */
export const until = (what, condition, limitMs = 60_000) => shared.until(what, condition, limitMs)
