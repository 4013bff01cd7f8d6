package task

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/compile"
)

// benchRows are the rows of a benchmark's batch, about 2 % of them bad.
const benchRows = 1_000_000

const benchSource = `SELECT 'INV-' || lpad(i::VARCHAR, 8, '0') AS inv_no,
 CASE WHEN i%%97=0 THEN 'abc' ELSE ((hash(i)%%100000)::BIGINT/100.0)::DECIMAL(12,2)::VARCHAR END AS amt,
 CASE WHEN i%%131=0 THEN '31/31/2020' ELSE (DATE '2020-01-01' + (hash(i+1)%%1500)::INT)::VARCHAR END AS issued,
 (TIMESTAMP '2021-01-01 00:00:00' + to_seconds((hash(i+2)%%100000000)::BIGINT))::VARCHAR AS created,
 (hash(i+3)%%1000)::VARCHAR AS qty,
 CASE WHEN i%%211=0 THEN '1e5' ELSE (hash(i+4)%%1000000000)::VARCHAR END AS cust,
 ['open','paid','void'][1+(hash(i+5)%%3)::INT] AS state,
 ['true','false'][1+(hash(i+6)%%2)::INT] AS flag,
 ((hash(i+7)%%1000000)/1000.0)::VARCHAR AS weight,
 'Customer name ' || (hash(i+8)%%100000)::VARCHAR AS name,
 'user' || (hash(i+9)%%1000000)::VARCHAR || '@example.com' AS email,
 CASE WHEN i%%3=0 THEN NULL ELSE 'some longer note text number ' || (hash(i+10)%%1000000)::VARCHAR END AS note
 FROM range(%d, %d) t(i)`

const benchFlow = `
name: bench
source: {connector: c, csv: {}}
columns:
  - {name: invoice_id, type: string, from: trim(inv_no), required: true, key: true}
  - {name: amount, type: "decimal(12,2)", from: amt, min: "0"}
  - {name: issued, type: date}
  - {name: created, type: timestamp}
  - {name: quantity, type: int32, from: qty}
  - {name: customer, type: int64, from: cust}
  - {name: status, type: string, from: upper(state), one_of: [OPEN, PAID, VOID]}
  - {name: flag, type: bool}
  - {name: weight, type: float64}
  - {name: name, type: string, from: trim(name)}
  - {name: email, type: string, pattern: "[^@ ]+@[^@ ]+"}
  - {name: note, type: string}
rules:
  - {name: not_before, check: "created > TIMESTAMP '2020-12-31 00:00:00'"}
  - {name: small, check: "amount < 1000000"}
target: {connector: t, table: x, mode: append}
`

// BenchmarkTransform maps and closes a batch and rewrites the same staged file bare, in turn, and reports the ratio of the medians.
func BenchmarkTransform(b *testing.B) {
	for _, parts := range []int{1, 4} {
		b.Run(fmt.Sprintf("parts=%d", parts), func(b *testing.B) {
			env := setup(b)
			m := env.stageBench(parts)
			f := flow(b, benchFlow)
			var bare, whole []time.Duration
			for range 5 {
				bare = append(bare, env.rewrite(m))
				start := time.Now()
				manifests := make([]*typev1.PartManifest, parts)
				for i, part := range m.GetParts() {
					one := &typev1.IngestManifest{Columns: m.GetColumns(), Parts: []*typev1.StagedPart{part}, SourceFile: "b"}
					out, err := env.handler.Handle(context.Background(), &controlv1.Task{TaskId: "t", Kind: controlv1.TaskKind_TASK_KIND_MAP, Part: int32(i), Run: taskRun, Spec: f, Ingest: one,
						StagingPrefix: fmt.Sprintf("runs/b/transform/1-%d/", env.next())}, quiet{})
					require.NoError(b, err)
					manifests[i] = out.GetPart()
				}
				out, err := env.handler.Handle(context.Background(), &controlv1.Task{TaskId: "t", Kind: controlv1.TaskKind_TASK_KIND_CLOSE, Run: taskRun, Spec: f, Ingest: m, Parts: manifests,
					StagingPrefix: fmt.Sprintf("runs/b/transform/2-%d/", env.next())}, quiet{})
				require.NoError(b, err)
				require.NotNil(b, out)
				whole = append(whole, time.Since(start))
			}
			slices.Sort(bare)
			slices.Sort(whole)
			b.ReportMetric(bare[2].Seconds(), "bare-s")
			b.ReportMetric(whole[2].Seconds(), "transform-s")
			b.ReportMetric(whole[2].Seconds()/bare[2].Seconds(), "ratio")
		})
	}
}

// stageBench stages the benchmark's batch.
func (b *bench) stageBench(parts int) *typev1.IngestManifest {
	names := []string{"inv_no", "amt", "issued", "created", "qty", "cust", "state", "flag", "weight", "name", "email", "note"}
	return b.stageQuery(names, benchSource, benchRows, parts)
}

// stageQuery stages the rows of a query as parts of equal size. The query has two verbs for the first row of a part and the one
// after its last.
func (b *bench) stageQuery(columns []string, query string, rows, parts int) *typev1.IngestManifest {
	m := &typev1.IngestManifest{RecordsRead: int64(rows), SourceFile: "b"}
	for _, name := range columns {
		m.Columns = append(m.Columns, &typev1.StagedColumn{Name: name, Type: "utf8"})
	}
	dir, remove, err := b.Make("")
	require.NoError(b.t, err)
	defer remove()
	per := rows / parts
	for i := range parts {
		sql := fmt.Sprintf("COPY ("+query+") TO 'x.parquet' (FORMAT parquet, COMPRESSION zstd)", i*per, (i+1)*per)
		locations := fmt.Sprintf("COPY (SELECT i AS line, i*100 AS byte FROM range(%d, %d) t(i)) TO 'l.parquet' (FORMAT parquet, COMPRESSION zstd)", i*per, (i+1)*per)
		_, err := pool.Run(context.Background(), engine.Job{Dir: dir, Steps: []engine.Step{{Name: "stage", SQL: sql}, {Name: "locations", SQL: locations}}})
		require.NoError(b.t, err)
		put := func(name string) *typev1.StagedObject {
			obj, err := b.store.Put(context.Background(), fmt.Sprintf("runs/b/ingest/1-1/%d.parquet", b.next()), filepath.Join(dir, name), int64(per))
			require.NoError(b.t, err)
			require.NoError(b.t, os.Remove(filepath.Join(dir, name)))
			return obj
		}
		m.Parts = append(m.Parts, &typev1.StagedPart{Data: put("x.parquet"), Locations: put("l.parquet"), FirstRow: int64(i * per)})
	}
	return m
}

// rewrite copies the staged files without any rule.
func (b *bench) rewrite(m *typev1.IngestManifest) time.Duration {
	dir, remove, err := b.Make("")
	require.NoError(b.t, err)
	defer remove()
	var took time.Duration
	for _, p := range m.GetParts() {
		require.NoError(b.t, b.store.Fetch(context.Background(), p.GetData(), filepath.Join(dir, compile.PartFile)))
		start := time.Now()
		_, err := pool.Run(context.Background(), engine.Job{Dir: dir, Steps: []engine.Step{{Name: "rewrite", SQL: "COPY (FROM read_parquet('part.parquet')) TO 'out.parquet' (FORMAT parquet, COMPRESSION zstd)"}}})
		require.NoError(b.t, err)
		took += time.Since(start)
		require.NoError(b.t, os.Remove(filepath.Join(dir, compile.PartFile)))
	}
	return took
}
