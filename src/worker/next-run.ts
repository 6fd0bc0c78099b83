// Which run comes next in this worker. Pure: no clock, no IO.
//
//   due                  | this worker                                | next
//   ---------------------|--------------------------------------------|---------------------------------------
//   full                 | is idle, or runs an incremental pass       | full: once it has its turn
//   full and incremental | is idle, or runs an incremental pass       | full: it does what the other would do
//   full                 | runs a full pass, or waits for its turn    | none: what falls due meanwhile is left out
//   incremental          | is idle                                    | incremental: at once, or not at all
//   incremental          | runs a pass                                | none
//   incremental          | waits with a full pass for its turn        | none
//
//   a full pass that waits                             | next
//   ---------------------------------------------------|----------------------------------------
//   the worker stops, or another worker ran the tick   | end
//   no run holds the lease                             | run
//   a run holds the lease, the wait is not over        | wait
//   a run holds the lease, the wait is over            | give up: the next tick tries again

export type Pass = 'full' | 'incremental'

/** What this worker does at the moment. */
export interface WorkerState {
  /** A pass is running. */
  readonly isRunning: boolean
  /** A full pass is running or waits for its turn. */
  readonly isFullDue: boolean
  /** A tick of the incremental schedule is being looked into, or its pass is running. */
  readonly isIncrementalDue: boolean
}

/** Returns the pass that a tick starts, undefined if none. */
export function nextRun(state: WorkerState, due: ReadonlySet<Pass>): Pass | undefined {
  if (due.has('full')) return state.isFullDue ? undefined : 'full'
  const isIdle = !state.isRunning && !state.isFullDue && !state.isIncrementalDue
  return due.has('incremental') && isIdle ? 'incremental' : undefined
}

/** What a full pass that waits for its turn has found. */
export interface Turn {
  readonly isStillDue: boolean
  readonly isLeaseHeld: boolean
  readonly waitedMs: number
}

export function nextTurn(turn: Turn, waitMsMax: number): 'run' | 'wait' | 'end' | 'give up' {
  if (!turn.isStillDue) return 'end'
  if (!turn.isLeaseHeld) return 'run'
  return turn.waitedMs > waitMsMax ? 'give up' : 'wait'
}
