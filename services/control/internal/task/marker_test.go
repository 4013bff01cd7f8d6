package task_test

// target is a system that rows are loaded into, as far as exactly-once goes: the marker under the run's key.
type target struct {
	marker  string // "", COMMITTED or ABORTED
	fence   int64  // of an aborted marker
	commits int
}

// takes tells whether a load with this fence would commit: an aborted marker gives way to higher ones only.
func (tg *target) takes(fence int64) bool {
	return tg.marker == "" || (tg.marker == "ABORTED" && fence > tg.fence)
}

// commit is a load's COMMIT. It tells whether the run is there then.
func (tg *target) commit(fence int64) bool {
	if tg.takes(fence) {
		tg.marker = "COMMITTED"
		tg.commits++
	}
	return tg.marker == "COMMITTED"
}

// settle is a settlement's: it finds a committed marker, or sets an aborted one or raises its fence.
func (tg *target) settle(fence int64) string {
	if tg.marker != "COMMITTED" {
		tg.marker, tg.fence = "ABORTED", max(tg.fence, fence)
	}
	return tg.marker
}
