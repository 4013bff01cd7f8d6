package connectortest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// ObjectTargets runs the suite of targets in every format of object stores. It reads them as TYPES.md says that readers do, with
// nothing of the connector's own code.
func ObjectTargets(t *testing.T, store ObjectStore) {
	for _, format := range []string{"parquet", "csv", "jsonl"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			o := objectTarget{store: store, format: format, prefix: "out/" + format}
			// The formats share how a load commits.
			h := o.harness()
			if format == "parquet" {
				Target(t, h)
				return
			}
			TargetValues(t, h)
			t.Run("ARowThatTextCannotHoldBecomesAReject", func(t *testing.T) { textRefusesRows(t, h) })
		})
	}
}

// onlyOf are the values that a format cannot hold.
var onlyOf = map[string]Only{"jsonl": {connector.TypeJSON: {"null": {Value: Null}}}}

// objectTarget is a format of an object store, below a prefix.
type objectTarget struct {
	store          ObjectStore
	format, prefix string
}

// objects returns every object of a target by key from its prefix.
func (o objectTarget) objects(t *testing.T, spec connector.TargetSpec) map[string][]byte {
	t.Helper()
	return o.store.Objects(t, o.prefix+"/"+spec.Prefix+"/")
}

func (o objectTarget) harness() TargetHarness {
	var prefixes atomic.Int64
	return TargetHarness{
		Open:     func(t *testing.T) connector.Target { return o.store.target(t, map[string]any{"prefix": o.prefix}) },
		NoUpsert: true, NoKeys: true, Only: onlyOf[o.format],
		Place: func(*testing.T) connector.TargetSpec {
			return connector.TargetSpec{Prefix: fmt.Sprintf("flow/p%d", prefixes.Add(1)), Format: o.format}
		},
		Rows: func(t *testing.T, spec connector.TargetSpec) []Row {
			t.Helper()
			var rows []Row
			objects := o.objects(t, spec)
			for folder, m := range readable(t, objects) {
				require.NotEmpty(t, m.Mapped, "a committed run has at least one data object, for its columns")
				for _, d := range m.Mapped {
					content := d.content(t, objects, folder)
					part := decode(t, m.Format, content, spec.Columns)
					require.Len(t, part, int(d.Rows))
					rows = append(rows, part...)
				}
			}
			return rows
		},
		Rejects: func(t *testing.T, spec connector.TargetSpec, runID string) []connector.Reject {
			t.Helper()
			objects := o.objects(t, spec)
			folder := "run_id=" + runID
			m, ok := committedRuns(t, objects)[folder]
			if !ok {
				return nil
			}
			var list []connector.Reject
			for _, d := range m.Rejected {
				part := decodeRejects(t, runID, d.content(t, objects, folder))
				require.Len(t, part, int(d.Rows))
				list = append(list, part...)
			}
			return list
		},
		Leftovers: func(t *testing.T, spec connector.TargetSpec) []string {
			t.Helper()
			objects := o.objects(t, spec)
			known := map[string]bool{"_current.json": true}
			for folder, m := range markers(t, objects) {
				known[folder+"/_metadata.json"] = true
				for _, d := range append(m.Mapped, m.Rejected...) {
					known[folder+"/"+d.Name] = true
				}
			}
			var left []string
			for key := range objects {
				if !known[key] {
					left = append(left, key)
				}
			}
			for _, key := range o.store.Uploads(t, o.prefix+"/"+spec.Prefix+"/") {
				left = append(left, "upload of "+key)
			}
			return left
		},
	}
}

// metadata is what readers need of `_metadata.json`.
type metadata struct {
	State    string       `json:"state"`
	RunID    string       `json:"run_id"`
	Format   string       `json:"format"`
	Mapped   []dataObject `json:"mapped"`
	Rejected []dataObject `json:"rejected"`
}

type dataObject struct {
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// content returns a data object that a marker lists: it must be there, whole.
func (d dataObject) content(t *testing.T, objects map[string][]byte, folder string) []byte {
	t.Helper()
	content, ok := objects[folder+"/"+d.Name]
	require.True(t, ok, "%s is listed but missing", d.Name)
	require.Len(t, content, int(d.Bytes))
	sum := sha256.Sum256(content)
	require.Equal(t, d.SHA256, hex.EncodeToString(sum[:]))
	return content
}

// markers returns the markers of all runs by folder.
func markers(t *testing.T, objects map[string][]byte) map[string]metadata {
	t.Helper()
	found := map[string]metadata{}
	for key, content := range objects {
		if path.Base(key) != "_metadata.json" {
			continue
		}
		var m metadata
		require.NoError(t, json.Unmarshal(content, &m))
		require.Equal(t, "run_id="+m.RunID, path.Dir(key))
		found[path.Dir(key)] = m
	}
	return found
}

// committedRuns returns the markers of runs that have committed.
func committedRuns(t *testing.T, objects map[string][]byte) map[string]metadata {
	t.Helper()
	found := markers(t, objects)
	for folder, m := range found {
		if m.State != "committed" {
			require.Equal(t, "aborted", m.State)
			delete(found, folder)
		}
	}
	return found
}

// readable returns the runs whose rows are the content of a prefix.
func readable(t *testing.T, objects map[string][]byte) map[string]metadata {
	t.Helper()
	found := committedRuns(t, objects)
	text, ok := objects["_current.json"]
	if !ok {
		// Runs of mode replace are not the content before the pointer says so.
		for folder := range found {
			if bytes.Contains(objects[folder+"/_metadata.json"], []byte(`"replaces_generation"`)) {
				delete(found, folder)
			}
		}
		return found
	}
	var current struct {
		RunID    string `json:"run_id"`
		Metadata string `json:"metadata"`
	}
	require.NoError(t, json.Unmarshal(text, &current))
	folder := path.Dir(current.Metadata)
	m, ok := found[folder]
	require.True(t, ok, "the pointer names a run without a committed marker")
	require.Equal(t, current.RunID, m.RunID)
	return map[string]metadata{folder: m}
}

// decode reads a data object.
func decode(t *testing.T, format string, content []byte, columns []connector.Column) []Row {
	t.Helper()
	switch format {
	case "parquet":
		return decodeParquet(t, content, columns)
	case "csv":
		return decodeCSV(t, string(content), columns)
	case "jsonl":
		return decodeJSON(t, content, columns)
	}
	require.Fail(t, "unknown format", format)
	return nil
}

func decodeParquet(t *testing.T, content []byte, columns []connector.Column) []Row {
	t.Helper()
	reader, err := file.NewParquetReader(bytes.NewReader(content))
	require.NoError(t, err)
	defer reader.Close()
	arrows, err := pqarrow.NewFileReader(reader, pqarrow.ArrowReadProperties{BatchSize: 1 << 16}, memory.DefaultAllocator)
	require.NoError(t, err)
	batches, err := arrows.GetRecordReader(context.Background(), nil, nil)
	require.NoError(t, err)
	defer batches.Release()
	schema := batches.Schema()
	require.Equal(t, len(columns), schema.NumFields())
	for i, c := range columns {
		require.Equal(t, c.Name, schema.Field(i).Name)
		require.Equal(t, c.Type.Arrow().String(), schema.Field(i).Type.String())
		require.Equal(t, !c.Required, schema.Field(i).Nullable)
	}
	var rows []Row
	for batches.Next() {
		batch := batches.RecordBatch()
		for i := range int(batch.NumRows()) {
			row := make(Row, len(columns))
			for c := range columns {
				row[c] = Value(t, batch.Column(c), i, columns[c].Type)
			}
			rows = append(rows, row)
		}
	}
	require.NoError(t, batches.Err())
	return rows
}

func decodeCSV(t *testing.T, text string, columns []connector.Column) []Row {
	t.Helper()
	var lines []Row
	for len(text) > 0 {
		var row Row
		for {
			var field *string
			if strings.HasPrefix(text, `"`) {
				var b strings.Builder
				for text = text[1:]; ; {
					before, after, ok := strings.Cut(text, `"`)
					require.True(t, ok, "a quote is not closed")
					b.WriteString(before)
					if text = after; !strings.HasPrefix(text, `"`) {
						break
					}
					b.WriteByte('"')
					text = text[1:]
				}
				field = Text(b.String())
			} else {
				end := strings.IndexAny(text, ",\r\n")
				require.GreaterOrEqual(t, end, 0)
				if end > 0 {
					require.NotContains(t, text[:end], `"`)
					field = Text(text[:end])
				}
				text = text[end:]
			}
			row = append(row, field)
			if rest, ok := strings.CutPrefix(text, ","); ok {
				text = rest
				continue
			}
			rest, ok := strings.CutPrefix(text, "\r\n")
			require.True(t, ok, "a line ends in CRLF")
			text = rest
			break
		}
		require.Len(t, row, len(columns))
		lines = append(lines, row)
	}
	for i, c := range columns {
		require.Equal(t, c.Name, *lines[0][i])
	}
	for _, row := range lines[1:] {
		for i, v := range row {
			if v != nil {
				row[i] = Text(fromText(t, columns[i].Type, *v))
			}
		}
	}
	return lines[1:]
}

// fromText returns a value of a text format in canonical form.
func fromText(t *testing.T, typ connector.Type, text string) string {
	t.Helper()
	if typ.Name == connector.TypeBinary {
		raw, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		return hex.EncodeToString(raw)
	}
	if typ.Name == connector.TypeDecimal {
		_, fraction, _ := strings.Cut(text, ".")
		require.Len(t, fraction, typ.Scale, "decimals have all digits of their scale")
	}
	return Canonical(t, typ, text)
}

func decodeJSON(t *testing.T, content []byte, columns []connector.Column) []Row {
	t.Helper()
	var rows []Row
	for line := range bytes.Lines(content) {
		var members map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(line, &members))
		require.Len(t, members, len(columns))
		row := make(Row, len(columns))
		for i, c := range columns {
			raw, ok := members[c.Name]
			require.True(t, ok)
			switch {
			case c.Type.Name == connector.TypeJSON:
				// The document null and NULL look the same in JSON.
				if string(raw) != "null" {
					row[i] = Text(Canonical(t, c.Type, string(raw)))
				}
			case string(raw) == "null":
			case raw[0] == '"':
				var text string
				require.NoError(t, json.Unmarshal(raw, &text))
				row[i] = Text(fromText(t, c.Type, text))
			default:
				require.NotEqual(t, connector.TypeString, c.Type.Name)
				row[i] = Text(fromText(t, c.Type, string(raw)))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func decodeRejects(t *testing.T, runID string, content []byte) []connector.Reject {
	t.Helper()
	var list []connector.Reject
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	for {
		var line struct {
			RunID  string          `json:"run_id"`
			Row    *int64          `json:"_row"`
			File   string          `json:"file"`
			Line   *int64          `json:"line"`
			Byte   *int64          `json:"byte"`
			Stage  string          `json:"stage"`
			Errors json.RawMessage `json:"errors"`
			Record json.RawMessage `json:"record"`
			Raw    []byte          `json:"raw"`
		}
		err := decoder.Decode(&line)
		if err == io.EOF {
			return list
		}
		require.NoError(t, err)
		require.Equal(t, runID, line.RunID)
		r := connector.Reject{Row: -1, Line: -1, Byte: -1, File: line.File, Stage: line.Stage, Errors: string(line.Errors), Raw: line.Raw}
		for to, from := range map[*int64]*int64{&r.Row: line.Row, &r.Line: line.Line, &r.Byte: line.Byte} {
			if from != nil {
				*to = *from
			}
		}
		if string(line.Record) != "null" {
			r.Record = string(line.Record)
		}
		list = append(list, r)
	}
}
