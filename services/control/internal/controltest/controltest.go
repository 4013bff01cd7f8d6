// Package controltest is what the tests of control's core share: a database with a clock that a test moves, flows to run,
// and manifests that workers would commit.
package controltest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/store/sqlite"
	"github.com/lume-data/lume/services/control/internal/task"
)

// Clock is the database's clock: it moves when a test says so.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock starts at a fixed time.
func NewClock() *Clock { return &Clock{now: time.Date(2031, 3, 30, 12, 0, 0, 0, time.UTC)} }

// Now reads the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Open opens an empty database that is closed when the test ends.
func Open(t testing.TB, clock *Clock) store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "control.db"), sqlite.WithClock(clock.Now), sqlite.Volatile())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Flow is a flow from connector `bucket` to connector `warehouse`.
func Flow(name string, change ...func(*flowv1.Flow)) *flowv1.Flow {
	f := &flowv1.Flow{
		Name:    name,
		Source:  &flowv1.Source{Connector: "bucket", Format: &flowv1.Source_Csv{Csv: &flowv1.Csv{}}},
		Columns: []*flowv1.Column{{Name: "id", Type: "int64"}},
		Target:  &flowv1.Target{Connector: "warehouse", Table: "public.orders", Mode: "append"},
		Limits:  &flowv1.Limits{MaxParallelTasks: proto.Int32(2), MaxAttempts: proto.Int32(2)},
	}
	for _, fn := range change {
		fn(f)
	}
	return f
}

// Publish stores a flow and its next version, and the connectors that it needs.
func Publish(t testing.TB, db store.Store, spec *flowv1.Flow) store.Version {
	t.Helper()
	var v store.Version
	require.NoError(t, db.Update(t.Context(), func(tx store.Tx) error {
		ctx := t.Context()
		for _, name := range []string{"bucket", "warehouse"} {
			if _, err := tx.Connector(ctx, name); err == nil {
				continue
			}
			if _, err := tx.CreateConnector(ctx, store.Connector{Name: name, Type: "file"}); err != nil {
				return err
			}
		}
		f, err := tx.Flow(ctx, spec.GetName())
		if err != nil {
			if f, err = tx.CreateFlow(ctx, store.Flow{Name: spec.GetName(), Spec: spec}); err != nil {
				return err
			}
		}
		v, err = tx.CreateVersion(ctx, store.Version{
			Flow: f.Name, Spec: spec, Digest: fmt.Sprintf("sha256:%d", f.LatestVersion),
			SourceColumns: []string{"id"}, Connectors: []string{"bucket", "warehouse"},
		}, "")
		return err
	}))
	return v
}

// Connectors opens every connector without secrets.
type Connectors struct{}

// Open implements task.Connectors.
func (Connectors) Open(_ context.Context, names []string) (map[string]task.Connector, error) {
	out := map[string]task.Connector{}
	for _, name := range names {
		out[name] = task.Connector{Type: "file"}
	}
	return out, nil
}

// Object is a staged object of an assignment.
func Object(a task.Assignment, name string, rows int64) *typev1.StagedObject {
	return &typev1.StagedObject{Key: a.StagingPrefix + name, Rows: rows}
}

// Staged is the manifest of a STAGE task: parts of rowsPerPart rows each, and malformed records.
func Staged(a task.Assignment, parts int, rowsPerPart, malformed int64) *typev1.Manifest {
	m := &typev1.IngestManifest{RecordsRead: int64(parts)*rowsPerPart + malformed, Malformed: malformed, InputDigest: "sha256:in"}
	if malformed > 0 {
		m.Rejects = Object(a, "rejects.parquet", malformed)
	}
	for i := range parts {
		m.Parts = append(m.Parts, &typev1.StagedPart{
			Data: Object(a, fmt.Sprintf("part-%05d.parquet", i), rowsPerPart), FirstRow: int64(i) * rowsPerPart,
		})
	}
	return &typev1.Manifest{Output: &typev1.Manifest_Ingest{Ingest: m}}
}

// Mapped is the manifest of a MAP task that rejects and filters some of its rows.
func Mapped(a task.Assignment, rejected, filtered int64) *typev1.Manifest {
	read := a.Task.Input.GetData().GetRows()
	mapped := read - rejected - filtered
	m := &typev1.PartManifest{
		Part:   a.Task.Part,
		Counts: &typev1.RecordCountsPart{Read: read, Rejected: rejected, Filtered: filtered, Mapped: mapped, RowsToWrite: mapped},
		Digest: &typev1.RowsDigest{Rows: mapped},
		Mapped: Object(a, "mapped.parquet", mapped),
	}
	if rejected > 0 {
		m.Rejects = Object(a, "rejects.parquet", rejected)
	}
	return &typev1.Manifest{Output: &typev1.Manifest_Part{Part: m}}
}

// Closed is the manifest of a CLOSE task that rejects some of the mapped rows.
func Closed(a task.Assignment, rejected int64) *typev1.Manifest {
	return &typev1.Manifest{Output: &typev1.Manifest_Closing{Closing: &typev1.ClosingManifest{
		Drops: Object(a, "drops.parquet", rejected), Rejects: Object(a, "rejects.parquet", rejected),
		Rejected: rejected, DroppedRows: rejected, Digest: &typev1.RowsDigest{Rows: rejected},
	}}}
}

// Targets gives a flow several targets of these names, each a table of connector `warehouse`.
func Targets(names ...string) func(*flowv1.Flow) {
	return func(f *flowv1.Flow) {
		f.Target = nil
		for _, name := range names {
			f.Targets = append(f.Targets, &flowv1.Target{Name: name, Connector: "warehouse", Table: name, Mode: "append"})
		}
	}
}

// Loaded is the manifest of a LOAD or SETTLE task with the receipt of a load that has committed, some rows refused; of
// target main unless another is named.
func Loaded(r *typev1.Receipt, refused int64, target ...string) *typev1.Manifest {
	return loadManifest(Receipt(r, "COMMITTED", r.GetCounts().GetRowsToWrite()-refused, refused, target...))
}

// Aborted is the manifest of a SETTLE task that has found, or made, the target without the run.
func Aborted(runID string, target ...string) *typev1.Manifest {
	return loadManifest(Receipt(&typev1.Receipt{RunId: runID}, "ABORTED", 0, 0, target...))
}

// Receipt completes a receipt with one target.
func Receipt(r *typev1.Receipt, outcome string, written, refused int64, target ...string) *typev1.Receipt {
	r = proto.CloneOf(r)
	name := strings.Join(target, "")
	if name == "" {
		name = "main"
	}
	r.Targets = []*typev1.TargetReceipt{{Target: name, Outcome: outcome, Written: written, Refused: refused}}
	return r
}

func loadManifest(r *typev1.Receipt) *typev1.Manifest {
	text, err := protojson.Marshal(r)
	if err != nil {
		panic(err) // a receipt made here
	}
	return &typev1.Manifest{Output: &typev1.Manifest_Load{Load: &typev1.LoadManifest{ReceiptJson: string(text)}}}
}
