// The server as these tests start it.
import { Server, endedWith, folderFor } from '../../lib/server.mjs'

export { atEnd, folderFor, mintToken, run } from '../../lib/server.mjs'

/** For tests in which one connection does what a thousand people do: it is not to wait for its turn. */
export const AS_FAST_AS_IT_GOES = ['--messages-per-second=1000000', '--presence-per-second=1000000', '--received-bytes-per-second=1GiB', '--cpu-percent=100']

/** Starts a server; `flags` follow `cowrite serve`. It is killed when the test `t` ends. `files`: as many may it open; `log`: its RUST_LOG; `variables`: of its environment. */
export function startServer(t, flags = [], { files, log, variables } = {}) {
  const options = { flags, files, variables: { ...variables, ...(log && { RUST_LOG: log }) } }
  return endedWith(t, new Server(folderFor(t), options)).start()
}
