package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

// Messy batches between systems, every step by the command line alone: connectors applied and tested, a flow published, runs
// waited for, and a second call refused. Nothing is lost on the way: what the target holds, what it refused, what the flow
// rejected and what could not be read are all of the batch.
func TestSystemsExchangeMessyBatchesThroughTheCommandLine(t *testing.T) {
	t.Parallel()
	i := up(t)
	i.byCommand = true
	all := []string{"append", "upsert", "replace"}
	for _, j := range []struct {
		name  string
		from  departure
		to    arrival
		modes []string
	}{
		{"CSV from Azurite to MariaDB", csvIn(azure), into("mysql"), all},
		{"MariaDB to S3", rowsOf("mysql"), parquetIn(bucket), []string{"append", "replace"}},
		{"PostgreSQL to SQL Server", rowsOf("postgres"), into("sqlserver"), all},
		{"SQL Server to PostgreSQL", rowsOf("sqlserver"), into("postgres"), all},
		{"CSV from S3 to Snowflake", csvIn(bucket), into("snowflake"), all},
		{"Snowflake to S3", rowsOf("snowflake"), parquetIn(bucket), []string{"append", "replace"}},
		// A statement of the server that stands for Databricks takes a second, and a load has a dozen.
		{"PostgreSQL to Databricks", rowsOf("postgres"), into("databricks"), []string{"upsert"}},
		{"Databricks to PostgreSQL", rowsOf("databricks"), into("postgres"), []string{"append"}},
	} {
		for _, mode := range j.modes {
			t.Run(j.name+" by "+mode, func(t *testing.T) {
				t.Parallel()
				travel(t, i, j.from, j.to, mode)
			})
		}
	}
}

// departure opens a system to read from: the flow's source, and what puts a batch there and returns its source_path. malformed
// is how many records of each batch cannot be read; rows of a database can.
type departure func(t *testing.T, i *installation) (source string, put func(batch string, list []order) string, malformed int64)

// arrival opens a system to write to. strict is true if it refuses orders without a region.
type arrival func(t *testing.T, i *installation, mode string) (target sink, strict bool)

func rowsOf(kind string) departure {
	return func(t *testing.T, i *installation) (string, func(string, []order) string, int64) {
		t.Helper()
		source, put := warehouses[kind](t, i).origin(t)
		return source, put, 0
	}
}

func csvIn(open func(*testing.T, *installation) store) departure {
	return func(t *testing.T, i *installation) (string, func(string, []order) string, int64) {
		t.Helper()
		s := open(t, i)
		return "connector: " + s.connector + ", csv: {}", func(batch string, list []order) string {
			// The first record after the header has too many fields, the last one too few.
			header, rest, _ := strings.Cut(string(encodeCSV(t, list)), "\n")
			return s.put(t, batch+".csv", []byte(header+"\n1,one,2.00,2024-01-01,north,and more\n"+rest+"2,two\n"))
		}, 2
	}
}

func into(kind string) arrival {
	return func(t *testing.T, i *installation, _ string) (sink, bool) {
		t.Helper()
		return warehouses[kind](t, i).target(t), true
	}
}

func parquetIn(open func(*testing.T, *installation) store) arrival {
	return func(t *testing.T, i *installation, mode string) (sink, bool) {
		t.Helper()
		return objectSink(open(t, i), "parquet", mode == "replace"), false
	}
}

// mixed makes n orders: of some the flow says that they are bad, of others, the target.
func mixed(from, n int) []order {
	list := orders(from, n, 4)
	for at := 5; at < n; at += 29 {
		list[at].region = ""
	}
	return list
}

// travel runs two batches that overlap where the mode has keys for that, and checks after each what stands where.
func travel(t *testing.T, i *installation, from departure, to arrival, mode string) {
	t.Helper()
	source, put, malformed := from(t, i)
	target, strict := to(t, i, mode)
	version := i.publishByCommand(t, flow(fresh("journey"), source, "region", target.yaml, mode, ""))
	first, second := mixed(1, 90), mixed(61, 70)
	if mode == "append" {
		second = mixed(1_001, 70)
	}
	for n := range second {
		second[n].cents += 7 // Another amount, so that an update shows.
	}
	want := map[int64]string{}
	for n, list := range [][]order{first, second} {
		var rejected, refused, written int64
		rows := map[int64]string{}
		for _, o := range list {
			switch {
			case o.bad():
				rejected++
			case o.region == "" && strict:
				refused++
			default:
				written++
				rows[o.id] = o.row()
			}
		}
		require.Positive(t, rejected)
		require.Equal(t, strict, refused > 0)
		if mode == "replace" {
			clear(want)
		}
		maps.Copy(want, rows)

		path := put(fmt.Sprintf("batch-%d", n), list)
		run := i.runByCommand(t, version, path)

		inState(t, partial, run)
		balanced(t, run)
		id, counts := run.GetRun().GetRunId(), run.GetReceipt().GetCounts()
		require.Equal(t, int64(len(list))+malformed, counts.GetRead())
		require.Equal(t, [3]int64{malformed, rejected, refused + written}, [3]int64{counts.GetMalformed(), counts.GetRejected(), counts.GetMapped()})
		require.Equal(t, [2]int64{refused, written}, [2]int64{run.GetReceipt().GetTargets()[0].GetRefused(), run.GetReceipt().GetTargets()[0].GetWritten()})
		same(t, want, target.rows(t))
		require.EqualValues(t, malformed+rejected+refused, target.rejects(t, id), "rejects in the target")
		exported := i.mustLume(t, "runs", "rejects", id, "-o", "jsonl", "--limit", "0")
		require.EqualValues(t, malformed+rejected+refused, strings.Count(exported, "\n"), "rejects in the API")
		require.Contains(t, target.receipt(t, id), id)

		// The same call again is refused, and changes nothing.
		code, _, errs := i.lume(t, "run", version, path, "--wait")
		require.Equal(t, 1, code)
		require.Contains(t, errs, "DUPLICATE_RUN")
		require.Contains(t, errs, id)
		same(t, want, target.rows(t))
	}
}

// applyConnector makes a connector of a file, its secrets from files of their own, and tests it.
func (i *installation) applyConnector(t *testing.T, name, typ string, settings map[string]any, secrets map[string]string) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"name": name, "type": typ, "settings": settings})
	require.NoError(t, err)
	args := []string{"connectors", "apply", "-f", i.file(t, name+".json", string(text))}
	for field, value := range secrets {
		args = append(args, "--secret", field+"=@"+i.file(t, name+"-"+field+".txt", value))
	}
	require.Contains(t, i.mustLume(t, args...), "Connector "+name+" created")
	require.Contains(t, i.mustLume(t, "connectors", "test", name), "passed")
}

func (i *installation) publishByCommand(t *testing.T, yaml string) string {
	t.Helper()
	name := parse(t, yaml).GetName()
	require.Contains(t, i.mustLume(t, "flows", "apply", "-f", i.file(t, name+".yaml", yaml)), "Flow "+name+" created")
	require.Contains(t, i.mustLume(t, "flows", "publish", name), "Published "+name+":v1")
	return name + ":v1"
}

func (i *installation) runByCommand(t *testing.T, version, path string) *controlv1.Run {
	t.Helper()
	code, out, errs := i.lume(t, "run", version, path, "--wait", "--quiet", "-o", "json")
	require.NotEqual(t, 1, code, errs)
	run := &controlv1.Run{}
	require.NoError(t, protojson.Unmarshal([]byte(out), run), out)
	return run
}

// file writes a file that the command line is given.
func (i *installation) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(i.root, name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
