package blob

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// ids is a load of one int64 column.
func ids(run string, mode connector.Mode, attempt int32, n int) connector.Load {
	columns := []connector.Column{{Name: "id", Type: connector.Type{Name: connector.TypeInt64}}}
	return connector.Load{
		RunID: run, Attempt: attempt, Fence: int64(attempt), FlowVersion: "flow:v1",
		Target:  connector.TargetSpec{Name: "main", Prefix: "out", Mode: mode, Columns: columns, Format: "jsonl"},
		Rows:    idRows{n: int64(n)},
		Rejects: func() (connector.Rejects, error) { return noRejects{}, nil },
		Refuse:  func(context.Context, int64, connector.RefusedRow) error { return nil },
		Restart: func() {},
		Balance: func(written, _ int64) ([]byte, error) { return fmt.Appendf(nil, `{"written": %d}`, written), nil },
	}
}

// settlement settles a run by a task with a fence.
func settlement(run string, spec connector.TargetSpec, fence int64) connector.Settlement {
	return connector.Settlement{RunID: run, FlowVersion: "flow:v1", Fence: fence, Target: spec}
}

type idRows struct{ n int64 }

func (r idRows) Count() int64 { return r.n }

func (r idRows) Open(context.Context, int64, int64) (connector.RowReader, error) {
	return &idReader{n: r.n}, nil
}

type idReader struct{ next, n int64 }

func (r *idReader) Next(context.Context) (arrow.RecordBatch, error) {
	if r.next >= r.n {
		return nil, io.EOF
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}, {Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for end := min(r.next+max(100, r.n/100), r.n); r.next < end; r.next++ {
		b.Field(0).(*array.Int64Builder).Append(r.next)
		b.Field(1).(*array.Int64Builder).Append(r.next)
	}
	return b.NewRecordBatch(), nil
}

func (*idReader) Close() error { return nil }

type noRejects struct{}

func (noRejects) Next(context.Context) (connector.Reject, error) { return connector.Reject{}, io.EOF }
func (noRejects) Close() error                                   { return nil }

// lines counts the rows that a reader sees below `in/out/`.
func lines(t *testing.T, m *fake) int {
	t.Helper()
	n := 0
	for key, o := range m.objects {
		if path.Base(key) == markerName && strings.Contains(string(o.content), `"state": "committed"`) {
			for data, d := range m.objects {
				if strings.HasPrefix(data, path.Dir(key)+"/mapped/") && strings.Contains(string(o.content), path.Base(data)) {
					n += strings.Count(string(d.content), "\n")
				}
			}
		}
	}
	return n
}

func TestAMarkerWhoseAnswerIsLostIsFound(t *testing.T) {
	t.Parallel()
	s := newFake()
	s.after = func(op, key string) error {
		if op == "put" && path.Base(key) == markerName {
			return errLost
		}
		return nil
	}
	out, err := link(s).Load(t.Context(), ids("run_1", connector.Append, 1, 250))
	require.NoError(t, err)
	require.True(t, out.Committed)
	require.False(t, out.Existing)
	require.Equal(t, 250, lines(t, s))
}

func TestAMarkerThatMayStillArriveKeepsItsObjects(t *testing.T) {
	t.Parallel()
	s := newFake()
	var late func()
	s.before = func(op, key string) error {
		if op == "put" && path.Base(key) == markerName && late == nil {
			late = func() {}
			return errLost
		}
		return nil
	}
	_, err := link(s).Load(t.Context(), ids("run_1", connector.Append, 1, 10))
	require.ErrorIs(t, err, errLost)
	require.Len(t, s.keys(), 1, "the data object stays: its marker could be on the way")
	// The next attempt decides the run and cleans up.
	out, err := link(s).Load(t.Context(), ids("run_1", connector.Append, 2, 10))
	require.NoError(t, err)
	require.False(t, out.Existing)
	require.Len(t, s.keys(), 2)
	require.Equal(t, 10, lines(t, s))
}

func TestARefusedMarkerIsWrittenAgainUntilSomeMarkerIsSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for refusals, reason := range map[int]string{3: "", 100: "STORE_BUSY"} {
			s := newFake()
			n := 0
			s.before = func(op, key string) error {
				if op == "put" && path.Base(key) == markerName && n < refusals {
					n++
					return ErrPrecondition
				}
				return nil
			}
			_, err := link(s).Load(t.Context(), ids("run_1", connector.Append, 1, 10))
			if reason == "" {
				require.NoError(t, err)
				require.Equal(t, 10, lines(t, s))
			} else {
				requireReason(t, err, reason)
			}
		}
	})
}

func TestASettledRunLosesEvenIfItsMarkerIsOnTheWay(t *testing.T) {
	t.Parallel()
	s := newFake()
	c := link(s)
	load := ids("run_1", connector.Append, 1, 10)
	balance := load.Balance
	load.Balance = func(written, refused int64) ([]byte, error) {
		out, err := c.Settle(t.Context(), settlement("run_1", load.Target, 5))
		require.NoError(t, err)
		require.False(t, out.Committed)
		return balance(written, refused)
	}
	_, err := c.Load(t.Context(), load)
	require.ErrorIs(t, err, connector.ErrAborted)
	require.Equal(t, []string{"in/out/run_id=run_1/_metadata.json"}, s.keys())
}

func TestAReplaceIsFinishedByTheNextAttemptAndNeverUndoesALaterOne(t *testing.T) {
	t.Parallel()
	s := newFake()
	c := link(s)
	current := func() string {
		p, _, err := c.readPointer(t.Context(), target{prefix: "in/out/"})
		require.NoError(t, err)
		return fmt.Sprintf("%d %s", p.Generation, p.RunID)
	}
	_, err := c.Load(t.Context(), ids("run_0", connector.Replace, 1, 1))
	require.NoError(t, err)
	require.Equal(t, "1 run_0", current())

	// run_1 commits its marker, and its worker dies before the pointer.
	s.before = func(op, key string) error {
		if op == "put" && path.Base(key) == pointerName {
			return errLost
		}
		return nil
	}
	_, err = c.Load(t.Context(), ids("run_1", connector.Replace, 1, 1))
	require.ErrorIs(t, err, errLost)
	require.Equal(t, "1 run_0", current(), "readers still see the old run")
	s.before = nil
	out, err := c.Load(t.Context(), ids("run_1", connector.Replace, 2, 1))
	require.NoError(t, err)
	require.True(t, out.Existing)
	require.Equal(t, "2 run_1", current())

	// The pointer's answer is lost, another run replaces, then run_2 is tried again: it has had its turn.
	s.after = func(op, key string) error {
		if op == "put" && path.Base(key) == pointerName {
			return errLost
		}
		return nil
	}
	_, err = c.Load(t.Context(), ids("run_2", connector.Replace, 1, 1))
	require.ErrorIs(t, err, errLost)
	s.after = nil
	require.Equal(t, "3 run_2", current())
	_, err = c.Load(t.Context(), ids("run_3", connector.Replace, 1, 1))
	require.NoError(t, err)
	require.Equal(t, "4 run_3", current())
	for range 2 {
		out, err = c.Load(t.Context(), ids("run_2", connector.Replace, 2, 1))
		require.NoError(t, err)
		require.True(t, out.Existing)
		settled, err := c.Settle(t.Context(), settlement("run_2", ids("run_2", connector.Replace, 1, 1).Target, 5))
		require.NoError(t, err)
		require.True(t, settled.Committed)
		require.Equal(t, "4 run_3", current())
	}
}

func TestAppendIsRefusedWhereReadersWouldNotSeeIt(t *testing.T) {
	t.Parallel()
	c := link(newFake())
	_, err := c.Load(t.Context(), ids("run_0", connector.Replace, 1, 1))
	require.NoError(t, err)
	_, err = c.Load(t.Context(), ids("run_1", connector.Append, 1, 1))
	requireReason(t, err, "PREFIX_IS_REPLACED")
	checks := c.CheckTarget(t.Context(), ids("run_1", connector.Append, 1, 1).Target)
	require.Equal(t, "PREFIX_IS_REPLACED", checks[len(checks)-1].Err.Reason)
	// The other way round the replace takes over.
	c = link(newFake())
	_, err = c.Load(t.Context(), ids("run_0", connector.Append, 1, 1))
	require.NoError(t, err)
	_, err = c.Load(t.Context(), ids("run_1", connector.Replace, 1, 1))
	require.NoError(t, err)
}

func TestStoresThatIgnoreConditionsAreNoTargets(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"If-None-Match", "If-Match"} {
		s := newFake()
		s.deaf = header
		c := New(Options{Store: s, Location: link(s).loc})
		checks := c.Check(t.Context())
		failed := checks[len(checks)-1]
		require.Equal(t, "conditional_write", failed.Name)
		require.Equal(t, "CONDITIONAL_WRITES_UNSUPPORTED", failed.Err.Reason)
		require.Equal(t, header, failed.Err.Meta["header"])
		_, err := c.Load(t.Context(), ids("run_1", connector.Append, 1, 1))
		requireReason(t, err, "CONDITIONAL_WRITES_UNSUPPORTED")
		_, err = c.Settle(t.Context(), settlement("run_1", ids("run_1", connector.Append, 1, 1).Target, 5))
		requireReason(t, err, "CONDITIONAL_WRITES_UNSUPPORTED")
		require.Empty(t, s.keys())
	}
	s := newFake()
	c := New(Options{Store: s, Location: link(s).loc})
	_, err := c.Load(t.Context(), ids("run_1", connector.Append, 1, 1))
	require.NoError(t, err)
	require.Len(t, s.keys(), 2)
}

func TestReadOnlyLinksNeverWrite(t *testing.T) {
	t.Parallel()
	s := newFake()
	c := New(Options{Store: s, Location: link(s).loc, ReadOnly: true})
	_, err := c.Load(t.Context(), ids("run_1", connector.Append, 1, 1))
	requireReason(t, err, "CONNECTOR_READ_ONLY")
	_, err = c.Settle(t.Context(), settlement("run_1", ids("run_1", connector.Append, 1, 1).Target, 5))
	requireReason(t, err, "CONNECTOR_READ_ONLY")
	for _, check := range c.Check(t.Context()) {
		require.NotEqual(t, connector.CheckFailed, check.Status)
	}
	require.Zero(t, s.writes)
}

func TestRowsAreSharedOutToObjectsOfASize(t *testing.T) {
	t.Parallel()
	for format, rows := range map[string]int{"parquet": 500_000, "csv": 1000, "jsonl": 1000} {
		s := newFake()
		c := link(s)
		c.partBytes = 1000
		load := ids("run_1", connector.Append, 1, rows)
		load.Target.Format = format
		load.Balance = func(written, refused int64) ([]byte, error) {
			require.EqualValues(t, rows, written)
			require.Zero(t, refused)
			return []byte("{}"), nil
		}
		_, err := c.Load(t.Context(), load)
		require.NoError(t, err)
		require.Greater(t, len(s.keys()), 3, format)
	}
}

func TestBadTargetsAreRefused(t *testing.T) {
	t.Parallel()
	c := link(newFake())
	for reason, change := range map[string]func(*connector.Load){
		"INVALID_TARGET_PREFIX": func(l *connector.Load) { l.Target.Prefix = "a/../../b" },
		"UPSERT_NOT_SUPPORTED":  func(l *connector.Load) { l.Target.Mode = connector.Upsert },
		"INVALID_FORMAT":        func(l *connector.Load) { l.Target.Format = "xml" },
		"INVALID_MODE":          func(l *connector.Load) { l.Target.Mode = "merge" },
		"CONNECTOR_FAULT":       func(l *connector.Load) { l.RunID = "../run" },
	} {
		load := ids("run_1", connector.Append, 1, 1)
		change(&load)
		_, err := c.Load(t.Context(), load)
		requireReason(t, err, reason)
	}
	for _, prefix := range []string{"", "/", "..", "a/..", "s3://bucket/a", "a//b", "./a"} {
		spec := ids("run_1", connector.Append, 1, 1).Target
		spec.Prefix = prefix
		checks := c.CheckTarget(t.Context(), spec)
		require.Equal(t, "INVALID_TARGET_PREFIX", checks[0].Err.Reason, prefix)
		require.Equal(t, connector.CheckSkipped, checks[1].Status)
	}
}

func TestAStrangeMarkerIsNotTakenForOurs(t *testing.T) {
	t.Parallel()
	key := "in/out/run_id=run_1/_metadata.json"
	for text, reason := range map[string]string{
		`{}`:        "TARGET_METADATA_DAMAGED",
		`not JSON`:  "TARGET_METADATA_DAMAGED",
		`{"state":`: "TARGET_METADATA_DAMAGED",
		`{"state":"committed","run_id":"run_1","target":"other"}`: "PREFIX_SHARED",
	} {
		s := newFake()
		require.NoError(t, s.Put(t.Context(), key, []byte(text), Condition{}))
		_, err := link(s).Load(t.Context(), ids("run_1", connector.Append, 1, 1))
		requireReason(t, err, reason)
		_, err = link(s).Settle(t.Context(), settlement("run_1", ids("run_1", connector.Append, 1, 1).Target, 5))
		requireReason(t, err, reason)
	}
}

func TestAnyReceiptComesBackByteForByte(t *testing.T) {
	t.Parallel()
	for _, receipt := range []string{`{"a":  1}`, "{\n \"b\" : [1,2] }", `{}`, "\x00\xffbinary", `"<&>"`, `{"receipt": {"receipt": 1}}`} {
		s := newFake()
		load := ids("run_1", connector.Append, 1, 1)
		load.Balance = func(int64, int64) ([]byte, error) { return []byte(receipt), nil }
		_, err := link(s).Load(t.Context(), load)
		require.NoError(t, err)
		out, err := link(s).Settle(t.Context(), settlement("run_1", load.Target, 5))
		require.NoError(t, err)
		require.Equal(t, receipt, string(out.Receipt))
	}
}

// eachFault runs a test again and again: each operation of its load fails in turn, before its effect or after it, in both modes.
func eachFault(t *testing.T, test func(s *fake, mode connector.Mode, faulty func(connector.Load) error)) {
	t.Helper()
	at := ""
	defer func() {
		if t.Failed() {
			t.Log(at)
		}
	}()
	for _, mode := range []connector.Mode{connector.Append, connector.Replace} {
		for _, effect := range []bool{false, true} {
			for n := 1; ; n++ {
				at = fmt.Sprintf("%s, fault %d, after its effect: %t", mode, n, effect)
				s, count := newFake(), 0
				fault := func(string, string) error {
					if count++; count == n {
						return errLost
					}
					return nil
				}
				test(s, mode, func(load connector.Load) error {
					if effect {
						s.after = fault
					} else {
						s.before = fault
					}
					_, err := link(s).Load(t.Context(), load)
					s.before, s.after = nil, nil
					return err
				})
				if count < n {
					require.Greater(t, n, 2)
					break
				}
			}
		}
	}
}

// The next attempt finishes.
func TestEveryFaultLeavesOneOutcome(t *testing.T) {
	t.Parallel()
	eachFault(t, func(s *fake, mode connector.Mode, faulty func(connector.Load) error) {
		err := faulty(ids("run_1", mode, 1, 250))
		seen := lines(t, s)
		if err == nil {
			require.Equal(t, 250, seen)
		}
		require.Contains(t, []int{0, 250}, seen)
		_, err = link(s).Load(t.Context(), ids("run_1", mode, 2, 250))
		require.NoError(t, err)
		require.Equal(t, 250, lines(t, s))
	})
}

func requireReason(t *testing.T, err error, reason string) {
	t.Helper()
	var coded *connector.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, reason, coded.Reason, "%v", coded.Cause)
}
