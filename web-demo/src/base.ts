// Where the server is: at the root of its host, or below a path (`--base-path`) with other things beside.
//
// The page is served at addresses of any depth and its script at one: the script's own address tells.

const script = import.meta.url

/** The path of the start page; it begins and ends with a slash. */
export const base = new URL('..', script).pathname

/** What this browser stores is named after it: two servers below one host have nothing in common. Empty at the root. */
export const scope = base.slice(0, -1)
