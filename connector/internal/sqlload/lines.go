package sqlload

// maxRuns bounds the memory of Lines.
const maxRuns = 1 << 18

// Lines remembers which row was sent at which line of a bulk load, as runs of adjacent rows. Beyond about 260,000 runs it
// forgets: then the bisection goes without hints. The zero value is ready.
type Lines struct {
	runs []run
	sent int64
	full bool
}

type run struct{ line, row int64 }

// Add records the row of the next line.
func (l *Lines) Add(row int64) {
	l.sent++
	if n := len(l.runs); n > 0 && row-l.runs[n-1].row == l.sent-l.runs[n-1].line {
		return
	}
	if len(l.runs) == maxRuns {
		l.full = true
	}
	if !l.full {
		l.runs = append(l.runs, run{line: l.sent, row: row})
	}
}

// Row returns the row at a 1-based line, or -1.
func (l *Lines) Row(line int64) int64 {
	if line < 1 || line > l.sent {
		return -1
	}
	lo, hi := 0, len(l.runs)
	for lo < hi {
		if mid := (lo + hi) / 2; l.runs[mid].line <= line {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(l.runs) && l.full || lo == 0 {
		return -1
	}
	return l.runs[lo-1].row + line - l.runs[lo-1].line
}
