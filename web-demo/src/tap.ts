// What went over the connections of one provider, kept for whoever wants to look: references to bytes that are there anyway,
// a few hundred of them.

export interface Frame {
  readonly number: number
  /** ms since 1970 */
  readonly at: number
  readonly sent: boolean
  readonly bytes: Uint8Array
}

const FRAMES_MAX = 500
const BYTES_MAX = 1024 * 1024

export class Tap {
  private kept: Frame[] = []
  private bytes = 0
  private count = 0
  private readonly listeners = new Set<(frame: Frame) => void>()

  /** What is kept, oldest first. */
  get frames(): readonly Frame[] {
    return this.kept
  }

  /** A WebSocket for a provider, as any other but for that. */
  readonly socket: typeof WebSocket

  constructor() {
    const note = (sent: boolean, data: unknown): void => this.note(sent, data)
    this.socket = class extends WebSocket {
      constructor(url: string | URL, protocols?: string | string[]) {
        super(url, protocols)
        this.addEventListener('message', ({ data }) => note(false, data))
      }

      override send(data: Parameters<WebSocket['send']>[0]): void {
        super.send(data)
        note(true, data)
      }
    }
  }

  /** Calls the listener with what comes, until the signal is given. */
  listen(listener: (frame: Frame) => void, signal: AbortSignal): void {
    this.listeners.add(listener)
    signal.addEventListener('abort', () => this.listeners.delete(listener))
  }

  private note(sent: boolean, data: unknown): void {
    const bytes = data instanceof Uint8Array ? data : data instanceof ArrayBuffer ? new Uint8Array(data) : null
    if (bytes === null) return
    const frame = { number: this.count++, at: Date.now(), sent, bytes }
    this.kept.push(frame)
    this.bytes += bytes.length
    while (this.kept.length > FRAMES_MAX || (this.bytes > BYTES_MAX && this.kept.length > 1)) this.bytes -= this.kept.shift()?.bytes.length ?? 0
    for (const listener of this.listeners) listener(frame)
  }
}
