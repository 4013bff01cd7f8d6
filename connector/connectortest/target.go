package connectortest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// TargetHarness says how to reach a system as a target.
type TargetHarness struct {
	// Open opens a link of its own.
	Open func(t *testing.T) connector.Target
	// Place returns the spec of a place that nothing else uses. The suite sets mode, columns and creation.
	Place func(t *testing.T) connector.TargetSpec
	// Rows returns what readers of the place see, in canonical form. A place that does not exist has no rows.
	Rows func(t *testing.T, spec connector.TargetSpec) []Row
	// Rejects returns the rejects of a run that readers see. Errors and Record need only be the same JSON.
	Rejects func(t *testing.T, spec connector.TargetSpec, runID string) []connector.Reject
	// Leftovers returns what else than decided runs is to be found at the place, for people to read; nil if the system
	// cannot have any.
	Leftovers func(t *testing.T, spec connector.TargetSpec) []string
	// Sessions returns how many connections the system counts; nil if there is nobody to ask.
	Sessions func(t *testing.T) int

	// Evicts is true for systems where a task ends the session of a load that was claimed before it and stands still in its
	// transaction. In others the load is waited for.
	Evicts bool
	// StagesFirst is true for systems that read all rows of a load before its transaction begins. One that stands still among its
	// rows is in nobody's way, and finds what came after it.
	StagesFirst bool
	// NoUpsert is true for systems that cannot merge by key.
	NoUpsert bool
	// NoKeys is true for systems that let rows with equal keys in.
	NoKeys bool
	// Only lists the values that the system cannot hold as they are, with what happens to them instead. TYPES.md of the
	// connector explains each.
	Only Only
	// Folding are the ways in which the system takes keys for equal that are not the same; none for one that tells all apart.
	Folding []Folding
	// Guarded makes a table with a rule that refuses rows; nil for systems that have no rules.
	Guarded func(t *testing.T) Guard
	// Slow is true for systems that take seconds for a load of any size: loads are cut at fewer steps, in one mode, fewer are run at
	// once, and the values of all types are loaded together.
	Slow bool
	// FoldsNames is true for systems whose column names differ in more than case.
	FoldsNames bool
	// PlaneNames is true for systems whose names have no character beyond the Basic Multilingual Plane, such as emoji.
	PlaneNames bool
	// MaxName is the longest name of a column in bytes; 63 if it is 0.
	MaxName int
	// MaxText and MaxBinary are the largest cells of text and of bytes that the system takes, in bytes; 16 MiB if 0.
	MaxText, MaxBinary int
	// MaxColumns is how many columns the system takes; 500 if it is 0.
	MaxColumns int
}

// Only maps values, by type and canonical form, to what a system makes of them.
type Only map[connector.TypeName]map[string]Instead

// Instead is what happens to a value that a system cannot hold.
type Instead struct {
	// Refused is true if the row becomes a reject.
	Refused bool
	// Value is what readers see otherwise.
	Value *string
}

// place returns a new place with columns.
func (h TargetHarness) place(t *testing.T, mode connector.Mode, columns ...connector.Column) connector.TargetSpec {
	t.Helper()
	spec := h.Place(t)
	if spec.Name == "" {
		spec.Name = "main"
	}
	spec.Mode, spec.Create = mode, true
	spec.Columns = columns
	if len(columns) == 0 {
		spec.Columns = people()
	}
	return spec
}

// people are the columns of most tests.
func people() []connector.Column {
	return []connector.Column{
		{Name: "id", Type: connector.Type{Name: connector.TypeInt64}, Required: true, Key: true},
		{Name: "name", Type: connector.Type{Name: connector.TypeString}},
	}
}

// persons are rows of people.
func persons(from, to int, name string) []Row {
	var rows []Row
	for i := from; i < to; i++ {
		rows = append(rows, Values(fmt.Sprint(i), fmt.Sprintf("%s %d", name, i)))
	}
	return rows
}

var runs atomic.Int64

// newRun returns the id of a run.
func newRun() string { return fmt.Sprintf("run_%026d", runs.Add(1)) }

// sees requires that readers see exactly these rows, in any order.
func (h TargetHarness) sees(t *testing.T, spec connector.TargetSpec, want []Row, msg ...any) {
	t.Helper()
	sameRows(t, want, h.Rows(t, spec), msg...)
}

func sameRows(t *testing.T, want, got []Row, msg ...any) {
	t.Helper()
	require.Equal(t, sorted(want), sorted(got), msg...)
}

func sorted(rows []Row) []string {
	list := make([]string, len(rows))
	for i, r := range rows {
		list[i] = r.String()
	}
	slices.Sort(list)
	return list
}

func missingTable(t *testing.T, h TargetHarness) {
	target, spec := h.Open(t), h.place(t, connector.Append)
	if spec.Table == "" {
		// Prefixes need not exist.
		return
	}
	all := checkNames(target.CheckTarget(t.Context(), spec))
	spec.Create = false
	checks := target.CheckTarget(t.Context(), spec)
	require.Equal(t, all, checkNames(checks), "a check that was not executed is listed, too")
	failed := requireFailed(t, checks)
	require.Equal(t, connector.KindNotFound, failed.Kind)
	require.NotEmpty(t, failed.Next)
	run := newRun()
	_, err := newLoad(t, spec, run, persons(0, 3, "x")).run(t.Context(), target)
	require.Equal(t, connector.KindNotFound, codedError(t, err).Kind)
	require.Empty(t, h.Rows(t, spec))
	require.Empty(t, h.Rejects(t, spec, run))
}

type targetTest struct {
	name string
	run  func(*testing.T, TargetHarness)
}

// valueTests depend on how a target writes values.
var valueTests = []targetTest{
	{"AppendAddsRows", appendAddsRows},
	{"AnEmptyBatchCommits", emptyBatchCommits},
	{"ValuesAreExact", valuesAreExact},
	{"ValuesAreExactInEveryMode", valuesInEveryMode},
	{"TextIsExact", textIsExact},
	{"NamesAreExact", namesAreExact},
	{"CellsOf16MBAreWhole", largeCells},
	{"ManyColumns", manyColumns},
	{"ManyRows", manyRows},
	{"RejectsAreKeptWhole", rejectsAreKept},
}

// loadTests depend on how a target commits.
var loadTests = []targetTest{
	{"UpsertReplacesRowsWithEqualKeys", upsertMerges},
	{"UpsertOfKeysAloneCountsEveryRow", upsertOfKeysAlone},
	{"OfEqualKeysInABatchTheFirstIsKept", equalKeysKeepTheFirst},
	{"OfKeysThatTheTargetTakesForEqualTheFirstIsKept", foldedKeysKeepTheFirst},
	{"ReplaceIsOldOrNew", replaceIsOldOrNew},
	{"ReadersSeeOldOrNew", readersSeeOldOrNew},
	{"ASecondLoadOfARunWritesNothing", secondLoadWritesNothing},
	{"AnAbortedRunNeverCommits", abortedRunNeverCommits},
	{"SettleFindsWhatWasCommitted", settleFindsCommitted},
	{"SettleAndLoadAtOnceAgree", settleRacesLoad},
	{"TwoRunsAtOnceBothCommit", twoRunsAtOnce},
	{"TwoReplacesAtOnceLeaveOneOfThem", twoReplacesAtOnce},
	{"TwoUpsertsAtOnceLeaveEachKeyOnce", twoUpsertsAtOnce},
	{"TwoAttemptsAtOnceCommitOnce", twoAttemptsAtOnce},
	{"ALoadThatFailsLeavesNothing", failedLoadLeavesNothing},
	{"ALoadThatIsCutIsAllOrNothing", cutLoadIsAllOrNothing},
	{"ARefusedRowBecomesAReject", refusedRowBecomesReject},
	{"ARuleOfTheTableRefusesItsRowsAlone", ruleRefusesRows},
	{"CheckTargetPassesAndWritesNothing", checkTargetWritesNothing},
	{"AMissingTableIsNotCreatedUnasked", missingTable},
}

// Target runs the suite of targets.
func Target(t *testing.T, h TargetHarness) {
	runTarget(t, h, slices.Concat(valueTests, loadTests, resumeTests))
}

// TargetValues runs the part of the suite that is about values, for one more format of a target that has passed it all.
func TargetValues(t *testing.T, h TargetHarness) { runTarget(t, h, valueTests) }

func runTarget(t *testing.T, h TargetHarness, tests []targetTest) {
	t.Run("Suite", func(t *testing.T) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.run(t, h)
			})
		}
	})
	noSessions(t, h.Sessions)
}

// noSessions requires that a system counts no connection of the connector any more; it may take a moment to notice.
func noSessions(t *testing.T, sessions func(*testing.T) int) {
	t.Helper()
	if sessions == nil {
		return
	}
	require.Eventually(t, func() bool { return sessions(t) == 0 }, 10*time.Second, 20*time.Millisecond, "connections are left open")
}

func appendAddsRows(t *testing.T, h TargetHarness) {
	target, spec := h.Open(t), h.place(t, connector.Append)
	first, second := persons(0, 10, "first"), persons(10, 17, "second")
	for _, rows := range [][]Row{first, second} {
		l := newLoad(t, spec, newRun(), rows)
		out, err := l.run(t.Context(), target)
		require.NoError(t, err)
		require.False(t, out.Existing)
		require.Equal(t, [2]int64{int64(len(rows)), 0}, l.counted)
		require.JSONEq(t, fmt.Sprintf(`{"run":%q,"written":%d,"refused":0,"attempt":1}`, l.runID, len(rows)), string(out.Receipt))
	}
	h.sees(t, spec, append(first, second...))
}

func upsertMerges(t *testing.T, h TargetHarness) {
	columns := []connector.Column{
		{Name: "region", Type: connector.Type{Name: connector.TypeString}, Required: true, Key: true},
		{Name: "id", Type: connector.Type{Name: connector.TypeInt32}, Required: true, Key: true},
		{Name: "amount", Type: connector.Type{Name: connector.TypeDecimal, Precision: 12, Scale: 2}},
	}
	target, spec := h.Open(t), h.place(t, connector.Upsert, columns...)
	if h.NoUpsert {
		failed := requireFailed(t, target.CheckTarget(t.Context(), spec))
		require.Equal(t, connector.KindInvalid, failed.Kind)
		_, err := newLoad(t, spec, newRun(), nil).run(t.Context(), target)
		requireCoded(t, err)
		return
	}
	load := func(rows ...Row) {
		_, err := newLoad(t, spec, newRun(), rows).run(t.Context(), target)
		require.NoError(t, err)
	}
	load(Values("eu", "1", "1.00"), Values("eu", "2", "2.00"), Values("us", "1", "3.00"))
	load(Values("eu", "1", "10.00"), Values("us", "2", "4.00"), Row{Text("us"), Text("1"), Null})
	h.sees(t, spec, []Row{
		Values("eu", "1", "10.00"), Values("eu", "2", "2.00"), {Text("us"), Text("1"), Null}, Values("us", "2", "4.00"),
	})
}

func replaceIsOldOrNew(t *testing.T, h TargetHarness) {
	target, spec := h.Open(t), h.place(t, connector.Replace)
	old := persons(0, 8, "old")
	_, err := newLoad(t, spec, newRun(), old).run(t.Context(), target)
	require.NoError(t, err)
	h.sees(t, spec, old)

	boom := errors.New("the receipt does not balance")
	failing := newLoad(t, spec, newRun(), persons(5, 9, "lost"))
	failing.at = func(s step, _ int) error {
		if s == stepBalance {
			// All rows have been sent, and readers still see the old ones.
			h.sees(t, spec, old)
			return boom
		}
		return nil
	}
	_, err = failing.run(t.Context(), target)
	require.ErrorIs(t, err, boom)
	h.sees(t, spec, old)

	fresh := persons(6, 12, "new")
	run := newRun()
	_, err = newLoad(t, spec, run, fresh).run(t.Context(), target)
	require.NoError(t, err)
	h.sees(t, spec, fresh)
	last := persons(20, 22, "last")
	_, err = newLoad(t, spec, newRun(), last).run(t.Context(), target)
	require.NoError(t, err)
	// A late attempt of an earlier run brings nothing back.
	again := newLoad(t, spec, run, fresh)
	again.attempt = 2
	out, err := again.run(t.Context(), target)
	require.NoError(t, err)
	require.True(t, out.Existing)
	h.sees(t, spec, last)

	_, err = newLoad(t, spec, newRun(), nil).run(t.Context(), target)
	require.NoError(t, err)
	h.sees(t, spec, nil)
}

func secondLoadWritesNothing(t *testing.T, h TargetHarness) {
	spec, run, rows := h.place(t, connector.Append), newRun(), persons(0, 7, "once")
	first, err := newLoad(t, spec, run, rows).run(t.Context(), h.Open(t))
	require.NoError(t, err)
	again := newLoad(t, spec, run, persons(0, 9, "twice"))
	again.attempt = 2
	second, err := again.run(t.Context(), h.Open(t))
	require.NoError(t, err)
	require.True(t, second.Existing)
	require.Equal(t, string(first.Receipt), string(second.Receipt), "a marker keeps the receipt as it was given")
	require.Zero(t, again.reached[stepBalance])
	h.sees(t, spec, rows)
	// Another target of the same run is another marker.
	if other := h.place(t, connector.Append); other.Prefix == "" {
		other.Table, other.Name = spec.Table, "other"
		_, err = newLoad(t, other, run, persons(7, 8, "other")).run(t.Context(), h.Open(t))
		require.NoError(t, err)
		h.sees(t, spec, append(rows, persons(7, 8, "other")...))
	}
}

func emptyBatchCommits(t *testing.T, h TargetHarness) {
	modes := h.modes()
	if !h.NoUpsert {
		modes = append(modes, connector.Upsert)
	}
	for _, mode := range modes {
		spec, run := h.place(t, mode), newRun()
		out, err := newLoad(t, spec, run, nil).run(t.Context(), h.Open(t))
		require.NoError(t, err)
		require.False(t, out.Existing)
		h.sees(t, spec, nil)
		again, err := newLoad(t, spec, run, nil).run(t.Context(), h.Open(t))
		require.NoError(t, err)
		require.True(t, again.Existing)
	}
}

func upsertOfKeysAlone(t *testing.T, h TargetHarness) {
	if h.NoUpsert {
		return
	}
	spec := h.place(t, connector.Upsert, people()[:1]...)
	for _, ids := range [][]Row{{Values("1"), Values("2")}, {Values("2"), Values("3")}} {
		l := newLoad(t, spec, newRun(), ids)
		_, err := l.run(t.Context(), h.Open(t))
		require.NoError(t, err)
		require.Equal(t, [2]int64{2, 0}, l.counted, "every row counts, also one that changes nothing")
	}
	h.sees(t, spec, []Row{Values("1"), Values("2"), Values("3")})
}

func checkTargetWritesNothing(t *testing.T, h TargetHarness) {
	target, spec := h.Open(t), h.place(t, connector.Append)
	for _, check := range target.CheckTarget(t.Context(), spec) {
		require.Equal(t, connector.CheckPassed, check.Status, "%s: %v", check.Name, check.Err)
	}
	require.Empty(t, h.Rows(t, spec))
	if h.Leftovers != nil {
		require.Empty(t, h.Leftovers(t, spec))
	}
	rows := persons(0, 3, "x")
	_, err := newLoad(t, spec, newRun(), rows).run(t.Context(), target)
	require.NoError(t, err)
	for _, check := range target.CheckTarget(t.Context(), spec) {
		require.Equal(t, connector.CheckPassed, check.Status, "%s: %v", check.Name, check.Err)
	}
	h.sees(t, spec, rows)
}

// requireCoded requires an error that clients may see: it has a reason, and a class that is not an internal fault.
func requireCoded(t *testing.T, err error) {
	t.Helper()
	_ = codedError(t, err)
}

// codedError requires a coded error and returns it.
func codedError(t *testing.T, err error) *connector.Error {
	t.Helper()
	var coded *connector.Error
	require.ErrorAs(t, err, &coded)
	require.NotEqual(t, connector.KindInternal, coded.Kind, "%s: %v", coded.Reason, coded.Cause)
	require.Regexp(t, `^[A-Z][A-Z0-9_]+$`, coded.Reason)
	require.NotEmpty(t, coded.Message)
	require.Equal(t, strings.TrimSpace(coded.Message), coded.Message)
	for cause := coded.Cause; cause != nil; cause = errors.Unwrap(cause) {
		if text := cause.Error(); text != "" {
			require.NotContains(t, shownOf(coded), text, "a client sees a driver's text")
		}
	}
	return coded
}

// shownOf is all that a client sees of an error.
func shownOf(e *connector.Error) string {
	return strings.Join([]string{e.Error(), e.Next, e.Column, fmt.Sprint(e.Meta)}, "\n")
}

// checkNames are the names of checks in order.
func checkNames(checks []connector.Check) []string {
	names := make([]string, len(checks))
	for i, check := range checks {
		names[i] = check.Name
	}
	return names
}

// requireFailed requires that one check failed and that the ones after it were skipped.
func requireFailed(t *testing.T, checks []connector.Check) *connector.Error {
	t.Helper()
	var failed *connector.Error
	for _, check := range checks {
		require.NotEmpty(t, check.Name)
		switch {
		case failed != nil:
			require.Equal(t, connector.CheckSkipped, check.Status, check.Name)
		case check.Status == connector.CheckFailed:
			failed = codedError(t, check.Err)
		default:
			require.NotEqual(t, connector.CheckFailed, check.Status)
			require.Nil(t, check.Err)
		}
	}
	require.NotNil(t, failed, "every check passed")
	return failed
}

// settle settles a run by a task that is claimed now.
func settle(ctx context.Context, target connector.Target, spec connector.TargetSpec, runID string) (connector.Outcome, error) {
	return settleAs(ctx, target, spec, runID, claim())
}

// settleAs settles a run by a task that was claimed before.
func settleAs(ctx context.Context, target connector.Target, spec connector.TargetSpec, runID string, fence int64) (connector.Outcome, error) {
	return target.Settle(ctx, connector.Settlement{RunID: runID, FlowVersion: "flow:v1", Fence: fence, Target: spec})
}
