package reject_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/rejectfile"
	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/reject"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bundle struct {
	*reject.Service
	t     *testing.T
	db    store.Store
	runs  *run.Service
	tasks *task.Service
	files *staging.Store
	id    string
}

// setup makes a run of 2 parts with rows 0 to 9 and 10 to 19: malformed records at bytes 5 and 7, rejects of the parts at
// rows 3, 6, 12 and 18, and of the closing task at rows 2, 7, 8, 13 and 19.
func setup(t *testing.T, change ...func(*flowv1.Flow)) *bundle {
	t.Helper()
	db := controltest.Open(t, controltest.NewClock())
	controltest.Publish(t, db, controltest.Flow("orders", append(change, func(f *flowv1.Flow) { f.Columns[0].Key = true })...))
	files, err := staging.Open(t.Context(), "file://"+t.TempDir())
	require.NoError(t, err)
	s, err := reject.NewService(db, files, t.TempDir())
	require.NoError(t, err)
	b := &bundle{Service: s, t: t, db: db, runs: run.NewService(db), tasks: task.NewService(db, controltest.Connectors{}, task.Config{}), files: files}
	t.Cleanup(func() {
		b.runs.Close()
		require.NoError(t, s.Close())
		require.NoError(t, files.Close())
	})
	r, err := b.runs.Create(t.Context(), run.Request{FlowVersion: "orders:v1", SourcePath: "a"})
	require.NoError(t, err)
	b.id = r.ID

	b.do(store.TaskStage, 0, func(a task.Assignment) *typev1.Manifest {
		m := controltest.Staged(a, 2, 10, 2)
		m.GetIngest().Rejects = b.write(a, malformed(5), malformed(7))
		return m
	})
	for part, rows := range [][]int64{{3, 6}, {12, 18}} {
		b.do(store.TaskMap, int32(part), func(a task.Assignment) *typev1.Manifest {
			m := controltest.Mapped(a, 2, 0)
			m.GetPart().Rejects = b.write(a, records(rows...)...)
			return m
		})
	}
	b.do(store.TaskClose, 0, func(a task.Assignment) *typev1.Manifest {
		m := controltest.Closed(a, 5)
		m.GetClosing().Rejects = b.write(a, records(2, 7, 8, 13, 19)...)
		return m
	})
	return b
}

func records(rows ...int64) []rejectfile.Record {
	var out []rejectfile.Record
	for _, row := range rows {
		out = append(out, rejectfile.Record{
			Row: &row, File: "a.csv", Stage: typev1.Stage_STAGE_TRANSFORM, Record: fmt.Sprintf(`{"row":%d}`, row),
			Errors: rejectfile.EncodeErrors(&typev1.RejectError{Column: "id", Type: "type", Message: "m"}),
		})
	}
	return out
}

func malformed(at int64) rejectfile.Record {
	return rejectfile.Record{
		Byte: &at, File: "a.csv", Stage: typev1.Stage_STAGE_INGEST, Raw: []byte{0xff},
		Errors: rejectfile.EncodeErrors(&typev1.RejectError{Type: "malformed", Message: "m"}),
	}
}

func (b *bundle) do(kind store.TaskKind, part int32, manifest func(task.Assignment) *typev1.Manifest) {
	b.t.Helper()
	t := run.NewTask(store.Run{ID: b.id}, kind, part)
	a, err := b.tasks.Claim(b.t.Context(), t.ID, kind.Stage(), "w")
	require.NoError(b.t, err)
	require.NoError(b.t, b.tasks.Complete(b.t.Context(), store.Claim{TaskID: t.ID, Attempt: a.Task.Attempt, Fence: a.Task.Fence}, manifest(a)))
}

func (b *bundle) write(a task.Assignment, records ...rejectfile.Record) *typev1.StagedObject {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "rejects.parquet")
	w, err := rejectfile.Create(path)
	require.NoError(b.t, err)
	for _, r := range records {
		require.NoError(b.t, w.Append(r))
	}
	rows, err := w.Close()
	require.NoError(b.t, err)
	o, err := b.files.Put(b.t.Context(), fmt.Sprintf("%srejects-%d.parquet", a.StagingPrefix, a.Task.Part), path, rows)
	require.NoError(b.t, err)
	return o
}

// list reads all pages of a size and names each reject by its row, or by its byte if it never was one.
func (b *bundle) list(stage typev1.Stage, size int) []string {
	b.t.Helper()
	var (
		out []string
		at  reject.Cursor
	)
	for {
		rejects, next, err := b.List(b.t.Context(), b.id, stage, at, size)
		require.NoError(b.t, err)
		require.LessOrEqual(b.t, len(rejects), size)
		for _, r := range rejects {
			require.Equal(b.t, b.id, r.GetRunId())
			if r.GetCoordinate().Row != nil {
				out = append(out, fmt.Sprintf("row %d", r.GetCoordinate().GetRow()))
			} else {
				out = append(out, fmt.Sprintf("byte %d", r.GetCoordinate().GetByteOffset()))
			}
		}
		if next == nil {
			return out
		}
		require.NotEmpty(b.t, rejects)
		at = *next
	}
}

var (
	ingest    = []string{"byte 5", "byte 7"}
	transform = []string{"row 2", "row 3", "row 6", "row 7", "row 8", "row 12", "row 13", "row 18", "row 19"}
)

func TestRejectsAreInDeliveredOrderOnPagesOfAnySize(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for size := 1; size <= 12; size++ {
		require.Equal(t, append(append([]string{}, ingest...), transform...), b.list(typev1.Stage_STAGE_UNSPECIFIED, size), "size %d", size)
		require.Equal(t, ingest, b.list(typev1.Stage_STAGE_INGEST, size))
		require.Equal(t, transform, b.list(typev1.Stage_STAGE_TRANSFORM, size))
		require.Empty(t, b.list(typev1.Stage_STAGE_EGRESS, size))
	}
}

func TestRejectsAreWhole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rejects, _, err := b.List(t.Context(), b.id, typev1.Stage_STAGE_UNSPECIFIED, reject.Cursor{}, 3)
	require.NoError(t, err)
	require.Equal(t, []byte{0xff}, rejects[0].GetRaw())
	require.Equal(t, "malformed", rejects[0].GetErrors()[0].GetType())
	require.Equal(t, `{"row":2}`, rejects[2].GetRecord())
	require.Equal(t, typev1.Stage_STAGE_TRANSFORM, rejects[2].GetStage())
	require.Equal(t, "a.csv", rejects[2].GetCoordinate().GetFile())
}

func TestAPageIsCutBySizeButNeverEmpty(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.do(store.TaskLoad, 0, func(a task.Assignment) *typev1.Manifest {
		m := run.Manifests{Ingest: a.Ingest, Parts: a.Parts, Closing: a.Closing}
		load := controltest.Loaded(&typev1.Receipt{RunId: b.id, Counts: m.Counts()}, 0)
		big := records(0, 1, 2, 4)
		for i := range big {
			big[i].Stage = typev1.Stage_STAGE_EGRESS
			big[i].Record = `"` + strings.Repeat("x", 2<<20) + `"`
		}
		load.GetLoad().Rejects = b.write(a, big...)
		return load
	})
	rejects, next, err := b.List(t.Context(), b.id, typev1.Stage_STAGE_EGRESS, reject.Cursor{}, 100)
	require.NoError(t, err)
	require.Len(t, rejects, 1)
	require.NotNil(t, next)
	require.Equal(t, []string{"row 0", "row 1", "row 2", "row 4"}, b.list(typev1.Stage_STAGE_EGRESS, 100))
}

func TestRejectsThatWereSweptSaySo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	list := func() error {
		_, _, err := b.List(t.Context(), b.id, typev1.Stage_STAGE_UNSPECIFIED, reject.Cursor{}, 10)
		return err
	}
	require.NoError(t, b.files.DeletePrefix(t.Context(), "runs/"+b.id+"/"))
	require.ErrorIs(t, list(), reject.ErrSwept, "the objects are gone")
	_, err := b.runs.Cancel(t.Context(), b.id)
	require.NoError(t, err)
	require.NoError(t, b.db.Update(t.Context(), func(tx store.Tx) error { return tx.MarkSwept(t.Context(), b.id, true) }))
	require.ErrorIs(t, list(), reject.ErrSwept)
	_, _, err = b.List(t.Context(), "run_none", typev1.Stage_STAGE_UNSPECIFIED, reject.Cursor{}, 10)
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestACursorFromNowhereIsHarmless(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, at := range []reject.Cursor{{Stage: 2, File: 99}, {Stage: 2, Offset: 1 << 40}, {Stage: 9}, {Stage: 2, File: -1}, {Stage: 2, Offset: -5, Closing: -5}} {
		_, _, err := b.List(t.Context(), b.id, typev1.Stage_STAGE_UNSPECIFIED, at, 10)
		require.NoError(t, err)
	}
}

func TestManyReadersShareFewFiles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			rejects, _, err := b.List(t.Context(), b.id, typev1.Stage_STAGE_UNSPECIFIED, reject.Cursor{}, 100)
			if err != nil || len(rejects) != 11 {
				t.Errorf("%d rejects, %v", len(rejects), err)
			}
		})
	}
	wg.Wait()
}

func TestFilesThatWereFetchedAreRemovedInTheEnd(t *testing.T) {
	t.Parallel()
	db := controltest.Open(t, controltest.NewClock())
	dir := t.TempDir()
	s, err := reject.NewService(db, nil, dir)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestARowThatSeveralTargetsRefuseIsARejectOfEach(t *testing.T) {
	t.Parallel()
	b := setup(t, controltest.Targets("warehouse", "archive", "lake"))
	for part, rows := range [][]int64{{1, 5}, nil, {5, 11}} {
		b.do(store.TaskLoad, int32(part), func(a task.Assignment) *typev1.Manifest {
			counts := run.Manifests{Ingest: a.Ingest, Parts: a.Parts, Closing: a.Closing}.Counts()
			m := controltest.Loaded(&typev1.Receipt{RunId: b.id, Counts: counts}, int64(len(rows)), []string{"warehouse", "archive", "lake"}[part])
			if len(rows) > 0 {
				m.GetLoad().Rejects = b.write(a, records(rows...)...)
			}
			return m
		})
	}
	for _, size := range []int{1, 3, 100} {
		var got []string
		at := reject.Cursor{}
		for {
			list, next, err := b.List(t.Context(), b.id, typev1.Stage_STAGE_EGRESS, at, size)
			require.NoError(t, err)
			for _, r := range list {
				got = append(got, fmt.Sprintf("%s %d", r.GetTarget(), r.GetCoordinate().GetRow()))
			}
			if next == nil {
				break
			}
			at = *next
		}
		require.Equal(t, []string{"warehouse 1", "warehouse 5", "lake 5", "lake 11"}, got)
	}
	list, _, err := b.List(t.Context(), b.id, typev1.Stage_STAGE_TRANSFORM, reject.Cursor{}, 1)
	require.NoError(t, err)
	require.Empty(t, list[0].GetTarget(), "no target refused it")
}
