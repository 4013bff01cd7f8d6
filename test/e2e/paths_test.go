package e2e_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

// On `lume up`: every format from every store, and rows from PostgreSQL, into every target and in every mode.
func TestEveryPathOnOneProcess(t *testing.T) {
	t.Parallel()
	everyPath(t, up(t))
}

// The same on four processes with an external NATS server, PostgreSQL as control's store, and S3 as staging.
func TestEveryPathOnFourProcesses(t *testing.T) {
	t.Parallel()
	everyPath(t, four(t))
}

func everyPath(t *testing.T, i *installation) {
	t.Helper()
	t.Run("source", func(t *testing.T) {
		for kind, open := range stores {
			for _, f := range formats {
				t.Run(f.name+" from "+kind, func(t *testing.T) {
					t.Parallel()
					objectToTable(t, i, open(t, i), f)
				})
			}
		}
		t.Run("rows from postgres", func(t *testing.T) {
			t.Parallel()
			rowsToTable(t, i)
		})
	})
	t.Run("target", func(t *testing.T) {
		for _, mode := range []string{"append", "upsert", "replace"} {
			for kind, open := range map[string]func(*testing.T, *installation) sink{"postgres": postgresSink, "sqlite": sqliteSink} {
				t.Run(mode+" to "+kind, func(t *testing.T) {
					t.Parallel()
					twoBatches(t, i, open(t, i), mode)
				})
			}
			if mode == "upsert" {
				continue // Object stores have no keys to merge by.
			}
			for kind, open := range stores {
				for _, format := range []string{"parquet", "csv", "jsonl"} {
					t.Run(mode+" to "+format+" in "+kind, func(t *testing.T) {
						t.Parallel()
						twoBatches(t, i, objectSink(open(t, i), format, mode == "replace"), mode)
					})
				}
			}
		}
	})
}

// flow writes the flow of the tests; more adds fields at the top level.
func flow(name, source, region, target, mode, more string) string {
	return fmt.Sprintf(`
name: %s
source: {%s}
columns:
  - {name: id, type: int64, key: true}
  - {name: name, type: string, required: true}
  - {name: amount, type: "decimal(12,2)"}
  - {name: issued, type: date}
  - {name: region, type: string, from: %s}
target: {%s, mode: %s}
%s`, name, source, region, target, mode, more)
}

func objectToTable(t *testing.T, i *installation, s store, f format) {
	t.Helper()
	const n, bad = 300, 7
	list := orders(1, n, bad)
	target := postgresSink(t, i)
	version := i.publish(t, flow(fresh("flow"), "connector: "+s.connector+", "+f.source, f.region, target.yaml, "append", ""))

	run := i.execute(t, version, s.put(t, "batch one"+f.suffix, f.encode(t, list)))

	inState(t, partial, run)
	committed(t, i, target, run, n, bad)
	require.Equal(t, good(list), target.rows(t))
}

func rowsToTable(t *testing.T, i *installation) {
	t.Helper()
	const n, bad = 300, 7
	list := orders(1, n, bad)
	source, target := postgres(t, i), sqliteSink(t, i)
	source.fill(t, "wanted", list)
	source.fill(t, "other", orders(9_000, 10, 0))
	version := i.publish(t, flow(fresh("flow"), fmt.Sprintf(`connector: %s, query: "SELECT id, name, amount, issued, region FROM batches WHERE batch = :source_path"`, source.connector),
		"region", target.yaml, "append", ""))

	run := i.execute(t, version, "wanted")

	inState(t, partial, run)
	committed(t, i, target, run, n, bad)
	require.Equal(t, good(list), target.rows(t))
	// The batch id is a parameter, never a part of the query.
	none := i.execute(t, version, "' OR true --")
	inState(t, succeeded, none)
	require.Zero(t, none.GetReceipt().GetCounts().GetRead())
}

// twoBatches loads two batches that overlap and checks what the mode makes of them.
func twoBatches(t *testing.T, i *installation, target sink, mode string) {
	t.Helper()
	s := files(t, i)
	first, second := orders(1, 120, 3), orders(100, 80, 2)
	if mode == "append" {
		second = orders(1_000, 80, 2)
	}
	for n := range second {
		second[n].cents += 5 // Another amount, so that an update shows.
	}
	version := i.publish(t, flow(fresh("flow"), "connector: "+s.connector+", csv: {}", "region", target.yaml, mode, ""))

	one := i.execute(t, version, s.put(t, "1.csv", encodeCSV(t, first)))
	inState(t, partial, one)
	committed(t, i, target, one, 120, 3)
	require.Equal(t, good(first), target.rows(t))

	two := i.execute(t, version, s.put(t, "2.csv", encodeCSV(t, second)))
	inState(t, partial, two)
	committed(t, i, target, two, 80, 2)
	want := good(second)
	if mode != "replace" {
		want = good(first)
		maps.Copy(want, good(second))
	}
	require.Equal(t, want, target.rows(t))
}

// committed checks receipt, rejects and marker of a run that read n records of which bad ones have no name.
func committed(t *testing.T, i *installation, target sink, run *controlv1.Run, n, bad int64) {
	t.Helper()
	id := run.GetRun().GetRunId()
	counts := run.GetReceipt().GetCounts()
	require.Equal(t, n, counts.GetRead())
	require.Equal(t, bad, counts.GetRejected(), "%v", counts)
	require.Equal(t, n-bad, run.GetReceipt().GetTargets()[0].GetWritten())
	rejects := i.rejects(t, run.GetName())
	require.Len(t, rejects, int(bad))
	for _, r := range rejects {
		require.Equal(t, "name", r.GetErrors()[0].GetColumn())
		require.Equal(t, "required", r.GetErrors()[0].GetType())
		require.NotEmpty(t, r.GetRecord())
	}
	require.Equal(t, int(bad), target.rejects(t, id))
	require.Contains(t, target.receipt(t, id), id)
}
