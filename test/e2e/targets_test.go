package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/fault"
)

// named is a sink as one of several targets of a flow.
type named struct {
	name string
	sink
}

// toEach writes the flow of the tests from CSV files to several targets.
func toEach(from store, more string, targets ...named) string {
	const one = "target: {}"
	text := flow(fresh("flow"), "connector: "+from.connector+", csv: {}", "region", "", "append", more)
	text = strings.Replace(text, "target: {, mode: append}", one, 1)
	list := "targets:\n"
	for _, t := range targets {
		list += fmt.Sprintf("  - {name: %s, %s, mode: append}\n", t.name, t.yaml)
	}
	return strings.Replace(text, one, list, 1)
}

// outcomes of the targets of a run, as its receipt and its target entries say alike.
func outcomesOf(t *testing.T, run *controlv1.Run) []string {
	t.Helper()
	var list []string
	for i, target := range run.GetReceipt().GetTargets() {
		list = append(list, target.GetOutcome())
		require.Equal(t, target.GetOutcome(), run.GetTarget().GetTargets()[i].GetOutcome())
		require.Equal(t, target.GetTarget(), run.GetTarget().GetTargets()[i].GetName())
		require.Equal(t, target.GetOutcome() == "COMMITTED", target.GetError() == nil, "%v", target)
	}
	return list
}

// everywhere requires every row of a batch once in each target, its rejects, and a receipt in its marker.
func everywhere(t *testing.T, i *installation, run *controlv1.Run, list []order, bad int, targets ...named) {
	t.Helper()
	for n, target := range targets {
		same(t, good(list), target.rows(t))
		committed(t, i, target.sink, run, int64(len(list)), int64(bad))
		require.EqualValues(t, len(list)-bad, run.GetReceipt().GetTargets()[n].GetWritten())
	}
}

func (i *installation) resume(t *testing.T, name string) *controlv1.Run {
	t.Helper()
	run, err := i.runs.ResumeRun(t.Context(), &controlv1.ResumeRunRequest{Name: name})
	require.NoError(t, explained(err))
	require.Equal(t, controlv1.RunState_RUN_STATE_SYNCING_TARGET, run.GetRun().GetState())
	return run
}

const createOrders = `CREATE TABLE orders (id bigint, name text, amount numeric(12,2), issued date, region text)`

// A run to three systems of which one is broken, mended and resumed, by the command line.
func TestARunIsResumedUntilEveryTargetHasTheBatch(t *testing.T) {
	t.Parallel()
	i := up(t)
	db, s := postgres(t, i), files(t, i)
	lite, lake := named{"lite", sqliteSink(t, i)}, named{"lake", objectSink(bucket(t, i), "parquet", false)}
	warehouse := named{"warehouse", db.sink()}
	warehouse.yaml = strings.Replace(warehouse.yaml, ", create: true", "", 1)
	list := orders(1, 3_000, 30)
	version, path := i.publish(t, toEach(s, "", lite, warehouse, lake)), s.put(t, "a.csv", encodeCSV(t, list))

	run := i.execute(t, version, path)
	id := run.GetRun().GetRunId()
	inState(t, failed, run)
	require.Equal(t, []string{"COMMITTED", "ABORTED", "COMMITTED"}, outcomesOf(t, run))
	require.Equal(t, "TABLE_NOT_FOUND", run.GetError().GetReason())
	require.Equal(t, "warehouse", run.GetError().GetMetadata()["target"])
	require.Contains(t, i.mustLume(t, "runs", "get", id), "TABLE_NOT_FOUND")
	require.Regexp(t, id+`.* 2/3 `, i.mustLume(t, "runs", "list"))
	same(t, good(list), lite.rows(t))
	same(t, good(list), lake.rows(t))

	_, err := i.runs.CreateRun(t.Context(), &controlv1.CreateRunRequest{FlowVersion: version, SourcePath: path})
	f := fault.From(err)
	require.Equal(t, codes.AlreadyExists, f.Code)
	require.Equal(t, "DUPLICATE_RUN", f.Reason)
	require.Contains(t, f.Next, "lume runs resume "+id)

	code, out, _ := i.lume(t, "runs", "resume", id, "--wait")
	require.Equal(t, 3, code, "it is still broken: %s", out)
	db.exec(t, createOrders)
	code, out, errs := i.lume(t, "runs", "resume", id, "--wait")
	require.Zero(t, code, errs)
	require.Contains(t, out, "PARTIAL_FAILED", "of the batch's bad records")
	require.Equal(t, 3, strings.Count(out, "COMMITTED"), out)

	ended := i.wait(t, run.GetName())
	inState(t, partial, ended)
	require.Nil(t, ended.GetError())
	require.Equal(t, []string{"COMMITTED", "COMMITTED", "COMMITTED"}, outcomesOf(t, ended))
	everywhere(t, i, ended, list, 30, lite, warehouse, lake)

	code, _, errs = i.lume(t, "runs", "resume", id)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "NOTHING_TO_RESUME")
	_, err = i.runs.CreateRun(t.Context(), &controlv1.CreateRunRequest{FlowVersion: version, SourcePath: path})
	require.Equal(t, "COMMITTED", fault.From(err).Meta["outcome"])
}

func TestATargetWithAWrongPasswordIsLoadedOnceItIsCorrected(t *testing.T) {
	t.Parallel()
	i := four(t)
	db, s, lite := postgres(t, i), files(t, i), named{"lite", sqliteSink(t, i)}
	role := fmt.Sprintf("careful_%d", serial.Add(1)) // Roles are of the server, not of the database.
	db.exec(t, "CREATE ROLE "+role+" LOGIN PASSWORD 'right'")
	db.exec(t, "GRANT ALL ON SCHEMA public TO "+role)
	settings, _ := postgresSettings(t, db.conn.Config().ConnString())
	settings["user"] = role
	locked := fresh("locked")
	i.connector(t, locked, "postgres", settings, map[string]string{"password": "canary-wrong-password"})
	warehouse := named{"warehouse", db.sink()}
	warehouse.yaml = strings.Replace(warehouse.yaml, db.connector, locked, 1)
	list := orders(1, 500, 5)
	run := i.execute(t, i.publish(t, toEach(s, "", lite, warehouse)), s.put(t, "a.csv", encodeCSV(t, list)))
	inState(t, failed, run)
	require.Equal(t, "COMMITTED", outcomesOf(t, run)[0])
	require.NotContains(t, run.String(), "canary-wrong-password")

	_, err := i.connectors.UpdateConnector(t.Context(), &controlv1.UpdateConnectorRequest{
		Connector:  &controlv1.Connector{Name: "connectors/" + locked, Secrets: map[string]string{"password": "right"}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"secrets"}},
	})
	require.NoError(t, explained(err))
	i.resume(t, run.GetName())
	ended := i.wait(t, run.GetName())
	inState(t, partial, ended)
	everywhere(t, i, ended, list, 5, lite, warehouse)
}

func TestATargetThatWasSettledIsLoadedByAResume(t *testing.T) {
	t.Parallel()
	i := four(t)
	db, s, lite := postgres(t, i), files(t, i), named{"lite", sqliteSink(t, i)}
	warehouse := named{"warehouse", db.sink()}
	db.exec(t, createOrders)
	b := bench{installation: i, db: db}
	unlock := b.lock(t)
	list := orders(1, 500, 5)
	run := i.create(t, i.publish(t, toEach(s, "", lite, warehouse)), s.put(t, "a.csv", encodeCSV(t, list)))
	db.waiting(t)
	_, err := i.runs.CancelRun(t.Context(), &controlv1.CancelRunRequest{Name: run.GetName()})
	require.NoError(t, explained(err))
	ended := i.wait(t, run.GetName())
	inState(t, failed, ended)
	require.Equal(t, []string{"COMMITTED", "ABORTED"}, outcomesOf(t, ended))
	require.Equal(t, "CANCELLED", ended.GetError().GetReason())
	unlock()

	i.resume(t, run.GetName())
	ended = i.wait(t, run.GetName())
	inState(t, partial, ended)
	everywhere(t, i, ended, list, 5, lite, warehouse)
}

func TestAResumedLoadSurvivesKillOfEgress(t *testing.T) {
	t.Parallel()
	i := four(t)
	db, s := postgres(t, i), files(t, i)
	warehouse, lake := named{"warehouse", db.sink()}, named{"lake", objectSink(bucket(t, i), "csv", false)}
	warehouse.yaml = strings.Replace(warehouse.yaml, ", create: true", "", 1)
	list := orders(1, 20_000, 20)
	run := i.execute(t, i.publish(t, toEach(s, "", warehouse, lake)), s.put(t, "a.csv", encodeCSV(t, list)))
	inState(t, failed, run)
	db.exec(t, createOrders)
	b := bench{installation: i, db: db}
	unlock := b.lock(t)
	i.resume(t, run.GetName())
	db.waiting(t)
	i.processes["egress"].kill(t)
	unlock()
	i.restart(t, "egress")
	ended := i.wait(t, run.GetName())
	inState(t, partial, ended)
	require.EqualValues(t, 2+1, ended.GetTarget().GetTargets()[0].GetProgress().GetAttempt(), "one failed, one was killed, one has committed")
	everywhere(t, i, ended, list, 20, warehouse, lake)
}

func TestARunOfTwoTargetsSurvivesKill(t *testing.T) {
	t.Parallel()
	i := four(t)
	for _, process := range []string{"egress", "control"} {
		t.Run(process, func(t *testing.T) {
			const n, bad = 60_000, 60
			list := orders(1, n, bad)
			s := files(t, i)
			warehouse, lake := named{"warehouse", postgresSink(t, i)}, named{"lake", objectSink(bucket(t, i), "parquet", false)}
			run := i.create(t, i.publish(t, toEach(s, "limits: {part_bytes: 524288}", warehouse, lake)), s.put(t, "big.csv", encodeCSV(t, list)))
			i.waitFor(t, run.GetName(), controlv1.RunState_RUN_STATE_SYNCING_TARGET)
			i.processes[process].kill(t)
			i.restart(t, process)
			ended := i.wait(t, run.GetName())
			inState(t, partial, ended)
			everywhere(t, i, ended, list, bad, warehouse, lake)
		})
	}
}

func TestTheExampleWithTwoTargetsFillsBoth(t *testing.T) {
	t.Parallel()
	i := up(t)
	inbox := filepath.Join(i.root, "inbox")
	require.NoError(t, os.Mkdir(inbox, 0o755))
	batch := filepath.Join(inbox, "batch.csv")
	messy(t, batch, 500)
	i.mustLume(t, "connectors", "apply", "-f", "../../examples/connectors")
	i.mustLume(t, "flows", "apply", "-f", "../../examples/two_targets.yaml")
	i.mustLume(t, "flows", "publish", "invoices_everywhere")
	out := i.mustLume(t, "run", "invoices_everywhere:v1", batch, "--wait")
	require.Regexp(t, `Target warehouse +warehouse invoices_everywhere \(upsert\) COMMITTED`, out)
	require.Regexp(t, `Target lake +inbox lake \(append\) COMMITTED`, out)
	parts, err := filepath.Glob(filepath.Join(inbox, "lake", "run_id=*", "mapped", "*.parquet"))
	require.NoError(t, err)
	require.NotEmpty(t, parts)
}

// waiting waits until somebody waits for a lock on the table of orders: a load in its middle.
func (d database) waiting(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "a load waits for the table", func() bool {
		var n int
		require.NoError(t, d.conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND NOT granted`).Scan(&n))
		return n > 0
	})
}
