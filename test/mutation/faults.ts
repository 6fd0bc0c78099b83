// The list by hand: each guard, comparison and lock of the SQL changed once.
import type { SqlFault } from './fault.ts'
import { leaseFaults } from './lease-faults.ts'
import { readFaults } from './read-faults.ts'
import { stateFaults } from './state-faults.ts'
import { writeFaults } from './write-faults.ts'

export const faults: readonly SqlFault[] = [...readFaults, ...writeFaults, ...leaseFaults, ...stateFaults]
