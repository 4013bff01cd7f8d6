package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/fault"
)

func TestFeaturesOnOneProcess(t *testing.T) {
	t.Parallel()
	everyFeature(t, up(t))
}

func TestFeaturesOnFourProcesses(t *testing.T) {
	t.Parallel()
	everyFeature(t, four(t))
}

func everyFeature(t *testing.T, i *installation) {
	t.Helper()
	for _, f := range features {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			db := postgres(t, i)
			f.test(t, bench{installation: i, files: files(t, i), db: db, target: db.sink()})
		})
	}
}

var features = []outcome{
	{"a preview shows rows and rejects and leaves the target alone", func(t *testing.T, b bench) {
		version := b.plain(t, "")
		name, _, _ := strings.Cut(version, ":")
		p, err := b.flows.PreviewFlow(t.Context(), &controlv1.PreviewFlowRequest{
			Name: "flows/" + name, SourcePath: b.files.put(t, "a.csv", encodeCSV(t, orders(1, 100, 4))), MaxRecords: 50,
		})
		require.NoError(t, explained(err))
		require.Equal(t, []string{"id", "name", "amount", "issued", "region"}, p.GetColumns())
		require.EqualValues(t, 50, p.GetCounts().GetRead())
		require.Equal(t, 50, len(p.GetRows())+len(p.GetRejects()))
		require.NotEmpty(t, p.GetRejects())
		require.Empty(t, b.target.rows(t))
	}},
	{"a reference adds columns, and a record without a match is rejected", func(t *testing.T, b bench) {
		names := b.files.put(t, "names.csv", []byte("code,title\nN,north\nS,süd\n"))
		version := b.publish(t, fmt.Sprintf(`
name: %s
source: {connector: %s, csv: {}}
references:
  - {name: regions, connector: %s, path: %q, key: code, on: upper(code), required: true}
columns:
  - {name: id, type: int64, key: true}
  - {name: name, type: string}
  - {name: amount, type: "decimal(12,2)"}
  - {name: issued, type: date}
  - {name: region, type: string, from: regions.title}
target: {%s, mode: append}
`, fresh("flow"), b.files.connector, b.files.connector, names, b.target.yaml))
		run := b.execute(t, version, b.files.put(t, "a.csv", []byte("id,name,amount,issued,code\n1,a,1.00,2024-01-01,n\n2,b,2.00,2024-01-01,s\n3,c,3.00,2024-01-01,x\n")))
		inState(t, partial, run)
		require.Equal(t, map[int64]string{1: "1|a|1.00|2024-01-01|north", 2: "2|b|2.00|2024-01-01|süd"}, b.target.rows(t))
		require.Equal(t, "reference", b.rejects(t, run.GetName())[0].GetErrors()[0].GetType())
	}},
	{"an array of a record becomes rows, and a bad element rejects its record", func(t *testing.T, b bench) {
		version := b.publish(t, fmt.Sprintf(`
name: %s
source: {connector: %s, json: {}}
unnest: {path: lines, as: line}
columns:
  - {name: id, type: int64, from: line.id, key: true}
  - {name: name, type: string, from: customer}
  - {name: amount, type: "decimal(12,2)", from: line.amount, required: true}
  - {name: issued, type: date, from: "'2024-01-01'"}
  - {name: region, type: string, from: "'north'"}
target: {%s, mode: append}
`, fresh("flow"), b.files.connector, b.target.yaml))
		run := b.execute(t, version, b.files.put(t, "a.jsonl", []byte(
			`{"customer":"a","lines":[{"id":1,"amount":1.10},{"id":2,"amount":2.20}]}`+"\n"+
				`{"customer":"b","lines":[{"id":3,"amount":3.30},{"id":4,"amount":"x"}]}`+"\n")))
		inState(t, partial, run)
		require.Equal(t, map[int64]string{1: "1|a|1.10|2024-01-01|north", 2: "2|a|2.20|2024-01-01|north"}, b.target.rows(t))
		require.EqualValues(t, 2, run.GetReceipt().GetCounts().GetRead())
		require.EqualValues(t, 2, run.GetReceipt().GetCounts().GetRowsToWrite())
		require.Len(t, b.rejects(t, run.GetName()), 1)
	}},
	{"duplicates are found over all parts, and the first stays", func(t *testing.T, b bench) {
		list := append(orders(1, 5_000, 0), orders(1, 10, 0)...)
		version := b.plain(t, "limits: {part_bytes: 16384}")
		run := b.execute(t, version, b.files.put(t, "a.csv", encodeCSV(t, list)))
		inState(t, partial, run)
		require.Equal(t, good(list[:5_000]), b.target.rows(t))
		for _, r := range b.rejects(t, run.GetName()) {
			require.Equal(t, "unique", r.GetErrors()[0].GetType())
			require.GreaterOrEqual(t, r.GetCoordinate().GetRow(), int64(5_000))
		}
	}},
	{"no row is lost or moved in a batch of many row groups, through a join, lists, a filter and a unique key", func(t *testing.T, b bench) {
		const n = 300_000
		list := append(orders(1, n, 900), orders(1, 200, 0)...)
		want := good(list[:n])
		for _, o := range list[n:] {
			if _, there := want[o.id]; !there {
				want[o.id] = o.row() // The first with this key was rejected.
			}
		}
		rejected := len(list) - len(want)
		var ids []string
		for id := int64(1012); id < 1032; id++ {
			ids = append(ids, fmt.Sprint(id))
			delete(want, id)
		}
		filtered := len(list) - rejected - len(want)
		names := b.files.put(t, "names.csv", []byte("code,title\nnorth,north\nsüd,süd\n东,东\n"))
		version := b.publish(t, fmt.Sprintf(`
name: %s
source: {connector: %s, csv: {}}
references: [{name: regions, connector: %s, path: %q, key: code, on: trim(region), required: true}]
filter: CAST(id AS BIGINT) NOT IN (%s)
limits: {part_bytes: 8388608}
columns:
  - {name: id, type: int64, key: true}
  - {name: name, type: string, required: true}
  - {name: amount, type: "decimal(12,2)"}
  - {name: issued, type: date}
  - {name: region, type: string, from: regions.title, one_of: [a, b, c, d, e, f, g, h, i, north, süd, 东]}
target: {%s, mode: append}
`, fresh("flow"), b.files.connector, b.files.connector, names, strings.Join(ids, ", "), b.target.yaml))
		run := b.execute(t, version, b.files.put(t, "a.csv", encodeCSV(t, list)))
		inState(t, partial, run)
		same(t, want, b.target.rows(t))
		counts := run.GetReceipt().GetCounts()
		require.EqualValues(t, filtered, counts.GetFiltered())
		require.EqualValues(t, rejected, counts.GetRejected())
	}},
	{"the same batch in any number of parts has the same output digest", func(t *testing.T, b bench) {
		data := encodeCSV(t, orders(1, 3_000, 9))
		digests := map[string]bool{}
		for _, size := range []int{1 << 30, 40_000, 8_000} {
			target := postgresSink(t, b.installation)
			version := b.publish(t, flow(fresh("flow"), "connector: "+b.files.connector+", csv: {}", "region", target.yaml, "append",
				fmt.Sprintf("limits: {part_bytes: %d}", size)))
			run := b.execute(t, version, b.files.put(t, fmt.Sprintf("%d.csv", size), data))
			inState(t, partial, run)
			digests[run.GetReceipt().GetOutputDigest()] = true
		}
		require.Len(t, digests, 1)
	}},
	{"a flow with a mistake is refused with every place named", func(t *testing.T, b bench) {
		spec := flow(fresh("flow"), "connector: "+b.files.connector+", csv: {}", "uuid()", b.target.yaml, "append", "filter: nofunction(id)")
		err := b.refused(t, spec)
		require.Equal(t, codes.InvalidArgument, err.Code)
		fields := make([]string, 0, len(err.Violations))
		for _, v := range err.Violations {
			fields = append(fields, v.Field)
			require.NotEmpty(t, v.Message)
		}
		require.Contains(t, strings.Join(fields, " "), "columns[4].from")
		require.Contains(t, strings.Join(fields, " "), "filter")
	}},
	{"a key that is revoked or has no scope opens nothing", func(t *testing.T, b bench) {
		key, err := b.keys.CreateApiKey(t.Context(), &controlv1.CreateApiKeyRequest{DisplayName: "reader", Scopes: []string{"read"}})
		require.NoError(t, err)
		get := func(service, path string) int {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.http[service]+path, nil)
			require.NoError(t, err)
			request.Header.Set("Authorization", "Bearer "+key.GetKey())
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			_ = response.Body.Close()
			return response.StatusCode
		}
		require.Equal(t, http.StatusOK, get("control", "/v1/runs"))
		require.Equal(t, http.StatusOK, get("ingest", "/v1/ingest/tasks"))
		require.Equal(t, http.StatusForbidden, get("control", "/v1/apiKeys"))
		_, err = b.keys.RevokeApiKey(t.Context(), &controlv1.RevokeApiKeyRequest{Name: key.GetApiKey().GetName()})
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, get("control", "/v1/runs"))
	}},
	{"every service answers health, readiness, metrics and its OpenAPI", func(t *testing.T, b bench) {
		for name, address := range b.http {
			for _, path := range []string{"/healthz", "/readyz", "/metrics", "/openapi.json"} {
				response, err := http.Get("http://" + address + path)
				require.NoError(t, err)
				body, err := io.ReadAll(response.Body)
				require.NoError(t, err)
				_ = response.Body.Close()
				require.Equal(t, http.StatusOK, response.StatusCode, "%s%s", name, path)
				require.NotEmpty(t, body)
			}
		}
	}},
}

// refused stores a flow that must not be accepted and returns why.
func (b bench) refused(t *testing.T, yaml string) *fault.Error {
	t.Helper()
	spec := parse(t, yaml)
	_, err := b.flows.CreateFlow(t.Context(), &controlv1.CreateFlowRequest{Flow: &controlv1.Flow{Spec: spec}})
	require.Error(t, err)
	return fault.From(err)
}
