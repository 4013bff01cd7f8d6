package e2e_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/test/server"
)

// outcome is one way for a run to end. It gets an installation with files, and a PostgreSQL target that is empty.
type outcome struct {
	name string
	test func(t *testing.T, b bench)
}

// bench is what an outcome works with.
type bench struct {
	*installation
	files  store
	db     database
	target sink
}

func TestEveryOutcomeOnOneProcess(t *testing.T) {
	t.Parallel()
	everyOutcome(t, up(t))
}

func TestEveryOutcomeOnFourProcesses(t *testing.T) {
	t.Parallel()
	everyOutcome(t, four(t))
}

func everyOutcome(t *testing.T, i *installation) {
	t.Helper()
	for _, o := range outcomes {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			db := postgres(t, i)
			o.test(t, bench{installation: i, files: files(t, i), db: db, target: db.sink()})
		})
	}
}

var outcomes = []outcome{
	{"SUCCEEDED with every row", func(t *testing.T, b bench) {
		list := orders(1, 500, 0)
		run := b.execute(t, b.plain(t, ""), b.files.put(t, "a.csv", encodeCSV(t, list)))
		inState(t, succeeded, run)
		require.Equal(t, good(list), b.target.rows(t))
	}},
	{"SUCCEEDED with a batch of zero rows", func(t *testing.T, b bench) {
		run := b.execute(t, b.plain(t, ""), b.files.put(t, "a.csv", encodeCSV(t, nil)))
		inState(t, succeeded, run)
		require.Zero(t, run.GetReceipt().GetCounts().GetRead())
		require.NotEmpty(t, b.target.receipt(t, run.GetRun().GetRunId()), "a batch of zero rows has a marker, too")
	}},
	{"SUCCEEDED with every row filtered", func(t *testing.T, b bench) {
		run := b.execute(t, b.plain(t, "filter: region = 'nowhere'"), b.files.put(t, "a.csv", encodeCSV(t, orders(1, 50, 5))))
		inState(t, succeeded, run)
		require.EqualValues(t, 50, run.GetReceipt().GetCounts().GetFiltered())
	}},
	{"FAILED when a replace has nothing to write, and the old rows stay", func(t *testing.T, b bench) {
		list := orders(1, 20, 0)
		version := b.publish(t, flow(fresh("flow"), "connector: "+b.files.connector+", csv: {}", "region", b.target.yaml, "replace", ""))
		inState(t, succeeded, b.execute(t, version, b.files.put(t, "a.csv", encodeCSV(t, list))))
		run := b.execute(t, version, b.files.put(t, "b.csv", encodeCSV(t, nil)))
		b.failedWith(t, run, "EMPTY_REPLACE")
		require.Equal(t, good(list), b.target.rows(t))
	}},
	{"SUCCEEDED when a replace may be empty, and the old rows are gone", func(t *testing.T, b bench) {
		version := b.publish(t, flow(fresh("flow"), "connector: "+b.files.connector+", csv: {}", "region", b.target.yaml, "replace", "allow_empty: true"))
		inState(t, succeeded, b.execute(t, version, b.files.put(t, "a.csv", encodeCSV(t, orders(1, 20, 0)))))
		inState(t, succeeded, b.execute(t, version, b.files.put(t, "b.csv", encodeCSV(t, nil))))
		require.Empty(t, b.target.rows(t))
	}},
	{"FAILED beyond the error budget", func(t *testing.T, b bench) {
		run := b.execute(t, b.plain(t, "error_budget: {max_rejected_rows: 4}"), b.files.put(t, "a.csv", encodeCSV(t, orders(1, 100, 5))))
		b.failedWith(t, run, "ERROR_BUDGET_EXCEEDED")
		require.Len(t, b.rejects(t, run.GetName()), 5, "the rejects of a failed run can be read")
	}},
	{"FAILED when every row is rejected", func(t *testing.T, b bench) {
		list := orders(1, 30, 0)
		for i := range list {
			list[i].name = ""
		}
		b.failedWith(t, b.execute(t, b.plain(t, ""), b.files.put(t, "a.csv", encodeCSV(t, list))), "ALL_ROWS_REJECTED")
	}},
	{"FAILED for a missing object", func(t *testing.T, b bench) {
		b.failedWith(t, b.execute(t, b.plain(t, ""), b.files.uri("absent.csv")), "SOURCE_OBJECT_NOT_FOUND")
	}},
	{"FAILED for a path outside of the connector's root", func(t *testing.T, b bench) {
		b.failedWith(t, b.execute(t, b.plain(t, ""), "file:///etc/passwd"), "PATH_OUTSIDE_CONNECTOR")
	}},
	{"FAILED for a column that the batch does not have", func(t *testing.T, b bench) {
		data := strings.Replace(string(encodeCSV(t, orders(1, 10, 0))), "region", "province", 1)
		run := b.execute(t, b.plain(t, ""), b.files.put(t, "a.csv", []byte(data)))
		b.failedWith(t, run, "")
		require.Contains(t, run.GetError().GetMessage()+run.GetError().GetColumn(), "region")
		require.NotEmpty(t, run.GetError().GetNextAction())
	}},
	{"FAILED for a table that does not exist and may not be created", func(t *testing.T, b bench) {
		version := b.publish(t, flow(fresh("flow"), "connector: "+b.files.connector+", csv: {}", "region",
			"connector: "+b.db.connector+", table: absent", "append", ""))
		b.failedWith(t, b.execute(t, version, b.files.put(t, "a.csv", encodeCSV(t, orders(1, 10, 0)))), "TABLE_NOT_FOUND")
	}},
	{"FAILED for a wrong secret of S3", func(t *testing.T, b bench) {
		s3, name := server.StartS3(t), fresh("locked")
		b.connector(t, name, "s3", s3.Settings(), map[string]string{"secret_access_key": "canary-wrong-secret"})
		version := b.publish(t, flow(fresh("flow"), "connector: "+name+", csv: {}", "region", b.target.yaml, "append", ""))
		run := b.execute(t, version, "s3://"+s3.Bucket+"/a.csv")
		b.failedWith(t, run, "")
		require.NotContains(t, run.String(), "canary-wrong-secret")
	}},
	{"FAILED for a wrong password of PostgreSQL", func(t *testing.T, b bench) {
		name := fresh("locked")
		settings, _ := postgresSettings(t, b.db.conn.Config().ConnString())
		settings["user"] = "nobody_of_that_name"
		b.connector(t, name, "postgres", settings, map[string]string{"password": "canary-wrong-password"})
		version := b.publish(t, flow(fresh("flow"), "connector: "+b.files.connector+", csv: {}", "region",
			"connector: "+name+", table: orders, create: true", "append", ""))
		run := b.execute(t, version, b.files.put(t, "a.csv", encodeCSV(t, orders(1, 10, 0))))
		b.failedWith(t, run, "")
		require.NotContains(t, run.String(), "canary-wrong-password")
	}},
	{"FAILED when it is cancelled, however far the load is", func(t *testing.T, b bench) {
		version := b.plain(t, "")
		inState(t, succeeded, b.execute(t, version, b.files.put(t, "a.csv", encodeCSV(t, orders(1, 10, 0)))))
		unlock := b.lock(t)
		run := b.create(t, version, b.files.put(t, "b.csv", encodeCSV(t, orders(100, 10, 0))))
		b.waitFor(t, run.GetName(), controlv1.RunState_RUN_STATE_SYNCING_TARGET)
		_, err := b.runs.CancelRun(t.Context(), &controlv1.CancelRunRequest{Name: run.GetName()})
		require.NoError(t, explained(err))
		unlock()
		ended := b.wait(t, run.GetName())
		if ended.GetRun().GetState() == failed {
			require.Equal(t, "CANCELLED", ended.GetError().GetReason())
			require.Equal(t, good(orders(1, 10, 0)), b.target.rows(t))
			return
		}
		inState(t, succeeded, ended) // The commit was there first, and wins.
		require.Len(t, b.target.rows(t), 20)
	}},
	{"PARTIAL_FAILED when the target refuses rows", func(t *testing.T, b bench) {
		b.db.exec(t, `CREATE TABLE orders (id bigint PRIMARY KEY, name text NOT NULL, amount numeric(12,2) CHECK (amount < 50000), issued date, region text)`)
		list := orders(1, 1_000, 0)
		want := good(list)
		for _, o := range list {
			if o.cents >= 50_000_00 {
				delete(want, o.id)
			}
		}
		require.Less(t, len(want), 1_000)
		run := b.execute(t, b.plain(t, ""), b.files.put(t, "a.csv", encodeCSV(t, list)))
		inState(t, partial, run)
		require.Equal(t, want, b.target.rows(t))
		require.EqualValues(t, 1_000-len(want), run.GetReceipt().GetTargets()[0].GetRefused())
		for _, r := range b.rejects(t, run.GetName()) {
			require.Equal(t, "target", r.GetErrors()[0].GetType())
			require.NotEmpty(t, r.GetRecord())
		}
	}},
	{"refused as a duplicate, unless it is forced or the same request", func(t *testing.T, b bench) {
		version, path := b.plain(t, ""), b.files.put(t, "a.csv", encodeCSV(t, orders(1, 10, 0)))
		req := &controlv1.CreateRunRequest{FlowVersion: version, SourcePath: path, RequestId: fresh("request")}
		run, err := b.runs.CreateRun(t.Context(), req)
		require.NoError(t, explained(err))
		inState(t, succeeded, b.wait(t, run.GetName()))

		again, err := b.runs.CreateRun(t.Context(), req)
		require.NoError(t, explained(err))
		require.Equal(t, run.GetName(), again.GetName())

		_, err = b.runs.CreateRun(t.Context(), &controlv1.CreateRunRequest{FlowVersion: version, SourcePath: path})
		f := fault.From(err)
		require.Equal(t, codes.AlreadyExists, f.Code)
		require.Equal(t, "DUPLICATE_RUN", f.Reason)
		require.Equal(t, run.GetRun().GetRunId(), f.Meta["run_id"])
	}},
}

// plain publishes the flow of the tests from CSV files to the bench's database.
func (b bench) plain(t *testing.T, more string) string {
	t.Helper()
	return b.publish(t, flow(fresh("flow"), "connector: "+b.files.connector+", csv: {}", "region", b.target.yaml, "append", more))
}

// failedWith requires a run that FAILED, says why and what to do, and left nothing in the target.
func (b bench) failedWith(t *testing.T, run *controlv1.Run, reason string) {
	t.Helper()
	inState(t, failed, run)
	if reason != "" {
		require.Equal(t, reason, run.GetError().GetReason(), "%v", run.GetError())
	}
	require.NotEmpty(t, run.GetError().GetMessage())
	require.NotContains(t, b.target.receipt(t, run.GetRun().GetRunId()), `"written"`)
}

// lock holds the table of orders, so that a load has to wait, until the function that it returns is called.
func (b bench) lock(t *testing.T) func() {
	t.Helper()
	tx, err := connect(t, b.db.conn.Config().ConnString()).Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE orders IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Rollback(t.Context())) }
}
