package receipt

import (
	"fmt"
	"strconv"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// Reason is the stable reason of an [*Imbalance].
const Reason = "RECEIPT_IMBALANCE"

// Imbalance is an account that does not add up: an invariant of the platform is broken, and the run must not commit.
type Imbalance struct {
	// Account names what was compared, for example `records` or `rows of target main`.
	Account string
	// Left and Right say what each side counts.
	Left, Right string
	// LeftCount and RightCount are the two sides.
	LeftCount, RightCount int64
}

// Error implements error.
func (e *Imbalance) Error() string {
	side, diff := e.Right, e.LeftCount-e.RightCount
	if diff < 0 {
		side, diff = e.Left, -diff
	}
	return fmt.Sprintf("the receipt does not balance: %s: %s = %d, but %s = %d (%d missing in %s)",
		e.Account, e.Left, e.LeftCount, e.Right, e.RightCount, diff, side)
}

// Fault describes the error for a status.
func (e *Imbalance) Fault() (code uint32, reason, message, next, column string, meta map[string]string) {
	const internal = 13
	return internal, Reason, e.Error(),
		"nothing was written; report this with the run's id, it is a fault of the platform", "",
		map[string]string{
			"account": e.Account, "left": e.Left, "right": e.Right,
			"left_count": strconv.FormatInt(e.LeftCount, 10), "right_count": strconv.FormatInt(e.RightCount, 10),
		}
}

// Check returns an [*Imbalance] unless both equations hold for the receipt and every target in it that has, or will have,
// the rows, and no count is negative.
func Check(r *typev1.Receipt) error {
	if err := CheckRecords(r.GetCounts()); err != nil {
		return err
	}
	c := r.GetCounts()
	for _, t := range r.GetTargets() {
		if t.GetOutcome() == Aborted || t.GetOutcome() == Unknown {
			continue
		}
		account := "rows of target " + t.GetTarget()
		if err := notNegative(account, count{"written", t.GetWritten()}, count{"refused", t.GetRefused()}); err != nil {
			return err
		}
		if err := equal(account, "rows to write", c.GetRowsToWrite(), "written + refused", t.GetWritten()+t.GetRefused()); err != nil {
			return err
		}
	}
	return nil
}

// CheckRecords returns an [*Imbalance] unless every record read became exactly one of the others. It is what can be
// checked before a target has counted.
func CheckRecords(c *typev1.RecordCounts) error {
	const account = "records"
	if err := notNegative(account, count{"read", c.GetRead()}, count{"malformed", c.GetMalformed()},
		count{"filtered", c.GetFiltered()}, count{"rejected", c.GetRejected()}, count{"deduplicated", c.GetDeduplicated()},
		count{"mapped", c.GetMapped()}, count{"rows to write", c.GetRowsToWrite()}); err != nil {
		return err
	}
	sum := c.GetMalformed() + c.GetFiltered() + c.GetRejected() + c.GetDeduplicated() + c.GetMapped()
	return equal(account, "read", c.GetRead(), "malformed + filtered + rejected + deduplicated + mapped", sum)
}

// Audit compares the counts of the manifests of a LOAD task with each other and with the rows of the files that they
// name, so that no single wrong count passes because it moves both sides of an equation.
func Audit(task *controlv1.Task) error {
	ingest, parts, closing := task.GetIngest(), task.GetParts(), task.GetClosing()
	if err := CheckRecords(Counts(ingest, parts, closing)); err != nil {
		return err
	}
	if err := equal("parts", "staged parts", int64(len(ingest.GetParts())), "mapped parts", int64(len(parts))); err != nil {
		return err
	}
	if err := equal("malformed records", "malformed", ingest.GetMalformed(), "staged rejects", ingest.GetRejects().GetRows()); err != nil {
		return err
	}
	read := ingest.GetMalformed()
	for _, p := range parts {
		if err := auditPart(p, ingest.GetUnnested()); err != nil {
			return err
		}
		read += p.GetCounts().GetRead()
	}
	if err := equal("records", "read by the scanner", ingest.GetRecordsRead(), "malformed + read by the parts", read); err != nil {
		return err
	}
	return auditClosing(closing, ingest.GetUnnested())
}

func auditPart(p *typev1.PartManifest, unnested bool) error {
	account, c := fmt.Sprintf("part %d", p.GetPart()), p.GetCounts()
	if err := equal(account, "read", c.GetRead(), "filtered + rejected + mapped", c.GetFiltered()+c.GetRejected()+c.GetMapped()); err != nil {
		return err
	}
	if err := equal(account, "rows to write", c.GetRowsToWrite(), "rows of the mapped file", p.GetMapped().GetRows()); err != nil {
		return err
	}
	if err := equal(account, "rows to write", c.GetRowsToWrite(), "rows of the digest", p.GetDigest().GetRows()); err != nil {
		return err
	}
	if unnested {
		return nil
	}
	if err := equal(account, "rejected", c.GetRejected(), "staged rejects", p.GetRejects().GetRows()); err != nil {
		return err
	}
	return equal(account, "mapped", c.GetMapped(), "rows to write", c.GetRowsToWrite())
}

func auditClosing(c *typev1.ClosingManifest, unnested bool) error {
	const account = "closing task"
	if err := equal(account, "dropped rows", c.GetDroppedRows(), "rows of the drops file", c.GetDrops().GetRows()); err != nil {
		return err
	}
	if err := equal(account, "dropped rows", c.GetDroppedRows(), "rows of the digest", c.GetDigest().GetRows()); err != nil {
		return err
	}
	if unnested {
		return nil
	}
	if err := equal(account, "rejected", c.GetRejected(), "staged rejects", c.GetRejects().GetRows()); err != nil {
		return err
	}
	return equal(account, "rejected + deduplicated", c.GetRejected()+c.GetDeduplicated(), "dropped rows", c.GetDroppedRows())
}

type count struct {
	name string
	n    int64
}

func notNegative(account string, counts ...count) error {
	for _, c := range counts {
		if c.n < 0 {
			return &Imbalance{Account: account, Left: c.name, LeftCount: c.n, Right: "the least possible"}
		}
	}
	return nil
}

func equal(account, left string, leftCount int64, right string, rightCount int64) error {
	if leftCount == rightCount {
		return nil
	}
	return &Imbalance{Account: account, Left: left, LeftCount: leftCount, Right: right, RightCount: rightCount}
}
