// Several trackers may follow one provider, and end in any order. What they change of it is changed once, by the first, and
// put back by the last.

interface Change {
  readonly users: Set<unknown>
  readonly putBack: () => void
}

const changes = new WeakMap<object, Change>()

/**
 * Adds a user of the change to `changed`, which `change` makes unless it is made; it is given all users, now and later.
 * Returns how to leave.
 */
export function share<User>(changed: object, user: User, change: (users: ReadonlySet<User>) => () => void): () => void {
  let shared = changes.get(changed)
  if (shared === undefined) {
    const users = new Set<User>()
    shared = { users, putBack: change(users) }
    changes.set(changed, shared)
  }
  const { users, putBack } = shared
  users.add(user)
  return () => {
    users.delete(user)
    if (users.size > 0 || changes.get(changed) !== shared) return
    changes.delete(changed)
    putBack()
  }
}
