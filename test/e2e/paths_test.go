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
	t.Run("path", func(t *testing.T) {
		for n, from := range origins() {
			for m, to := range destinations {
				// Modes take turns, so that every source meets every mode.
				mode := to.modes[(n+m)%len(to.modes)]
				t.Run(fmt.Sprintf("%s to %s by %s", from.name, to.name, mode), func(t *testing.T) {
					t.Parallel()
					onePath(t, i, from, to.open(t, i, mode), mode)
				})
			}
		}
	})
	t.Run("mode", func(t *testing.T) {
		for _, to := range destinations {
			for _, mode := range to.modes {
				t.Run(mode+" to "+to.name, func(t *testing.T) {
					t.Parallel()
					twoBatches(t, i, to.open(t, i, mode), mode)
				})
			}
		}
	})
	t.Run("the batch of a query is a parameter", func(t *testing.T) {
		t.Parallel()
		boundBatch(t, i)
	})
}

// origin is a place that a batch comes from.
type origin struct {
	name string
	// open puts a batch there, and returns the flow's source, where the region stands, and the source_path.
	open func(t *testing.T, i *installation, list []order) (source, region, path string)
}

func origins() []origin {
	all := []origin{{"rows of postgres", func(t *testing.T, i *installation, list []order) (string, string, string) {
		t.Helper()
		db := postgres(t, i)
		db.fill(t, "wanted", list)
		db.fill(t, "other", orders(9_000, 10, 0))
		return db.query(), "region", "wanted"
	}}}
	for kind, open := range stores {
		for _, f := range formats {
			all = append(all, objectFrom(open, kind, f))
		}
	}
	return all
}

// objectFrom is an object of a format in a store of its own.
func objectFrom(open func(*testing.T, *installation) store, kind string, f format) origin {
	return origin{f.name + " from " + kind, func(t *testing.T, i *installation, list []order) (string, string, string) {
		t.Helper()
		s := open(t, i)
		return "connector: " + s.connector + ", " + f.source, f.region, s.put(t, "batch one"+f.suffix, f.encode(t, list))
	}}
}

// query reads one batch of the table that fill makes.
func (d database) query() string {
	return fmt.Sprintf(`connector: %s, query: "SELECT id, name, amount, issued, region FROM batches WHERE batch = :source_path"`, d.connector)
}

// destination is a place that rows go to.
type destination struct {
	name  string
	modes []string
	open  func(t *testing.T, i *installation, mode string) sink
}

var destinations = []destination{
	{"postgres", []string{"append", "upsert", "replace"}, func(t *testing.T, i *installation, _ string) sink { return postgresSink(t, i) }},
	{"sqlite", []string{"upsert", "replace", "append"}, func(t *testing.T, i *installation, _ string) sink { return sqliteSink(t, i) }},
	objectsIn(files, "parquet", "file"), objectsIn(files, "csv", "file"), objectsIn(files, "jsonl", "file"),
	objectsIn(bucket, "parquet", "s3"), objectsIn(bucket, "csv", "s3"), objectsIn(bucket, "jsonl", "s3"),
	objectsIn(azure, "parquet", "azure_blob"),
}

// objectsIn is a store of its own for objects of a format. There is no upsert: object stores have no keys to merge by.
func objectsIn(open func(*testing.T, *installation) store, format, kind string) destination {
	return destination{format + " in " + kind, []string{"append", "replace"}, func(t *testing.T, i *installation, mode string) sink {
		t.Helper()
		return objectSink(open(t, i), format, mode == "replace")
	}}
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

func onePath(t *testing.T, i *installation, from origin, target sink, mode string) {
	t.Helper()
	const n, bad = 200, 7
	list := orders(1, n, bad)
	source, region, path := from.open(t, i, list)
	version := i.publish(t, flow(fresh("flow"), source, region, target.yaml, mode, ""))

	run := i.execute(t, version, path)

	inState(t, partial, run)
	committed(t, i, target, run, n, bad)
	require.Equal(t, good(list), target.rows(t))
}

func boundBatch(t *testing.T, i *installation) {
	t.Helper()
	source, target := postgres(t, i), sqliteSink(t, i)
	source.fill(t, "wanted", orders(1, 10, 0))
	version := i.publish(t, flow(fresh("flow"), source.query(), "region", target.yaml, "append", ""))
	run := i.execute(t, version, "' OR true --")
	inState(t, succeeded, run)
	require.Zero(t, run.GetReceipt().GetCounts().GetRead())
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
