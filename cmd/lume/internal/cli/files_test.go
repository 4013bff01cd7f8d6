package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/fault"
)

const validFlow = `name: invoices
source:
  connector: inbox
  csv: {delimiter: ";"}
columns:
  - {name: id, type: string, key: true}
  - name: amount
    type: "decimal(12,2)"
    from: upperr(amt)
    on_error: {default: "0.00"}
target: {connector: warehouse, table: invoices, mode: append}
`

func fileWith(t *testing.T, text string) *document {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flow.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	doc, err := (&app{}).document(path)
	require.NoError(t, err)
	return doc
}

func TestAFlowFileIsReadWhole(t *testing.T) {
	t.Parallel()
	spec := &flowv1.Flow{}
	require.NoError(t, fileWith(t, validFlow).decodeValid(spec))
	require.Equal(t, ";", spec.GetSource().GetCsv().GetDelimiter())
	require.Equal(t, "0.00", spec.GetColumns()[1].GetOnError().GetStructValue().GetFields()["default"].GetStringValue())
}

func TestAWrongFileNamesLineColumnAndField(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, place, field string }{
		"unknown field":     {"name: x\nsauce: {}\n", ":2:1", "sauce"},
		"wrong type":        {"name: x\ncolumns: 7\n", ":2:10", "sequence"},
		"broken constraint": {validFlow + "limits: {max_attempts: 99}\n", ":12:24", "limits.max_attempts"},
		"missing field":     {"name: x\ncolumns: [{name: a, type: string}]\n", ":1:1", "source"},
		"not YAML":          {"name: [x\n", "line 1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "flow.yaml")
			require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
			doc, err := (&app{}).document(path)
			if err == nil {
				err = doc.decodeValid(&flowv1.Flow{})
			}
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, c.place)
			require.ErrorContains(t, err, c.field)
		})
	}
}

func TestAComplaintOfTheServerGetsItsPlaceInTheFile(t *testing.T) {
	t.Parallel()
	doc := fileWith(t, validFlow)
	err := fault.Invalid(
		fault.Violation{Field: "flow.spec.columns[1].from", Reason: "UNKNOWN_FUNCTION", Message: "there is no function upperr"},
		fault.Violation{Field: "columns[1].on_error", Reason: "DEFAULT", Message: "wrong default"},
		fault.Violation{Field: "targets[0].table", Reason: "TABLE", Message: "wrong table"},
		fault.Violation{Field: "error_budget.max_rejected_rows", Reason: "BUDGET", Message: "wrong budget"},
	).WithNext("fix them")
	located := doc.locate(fault.ToStatus(err).Err())
	require.ErrorContains(t, located, doc.path+":9:11 columns[1].from: there is no function upperr (UNKNOWN_FUNCTION)")
	require.ErrorContains(t, located, ":10:15 columns[1].on_error")
	require.ErrorContains(t, located, ":11:39 targets[0].table")
	require.ErrorContains(t, located, ":1:1 error_budget.max_rejected_rows")
	require.ErrorContains(t, located, "Next: fix them")
}

func TestAnErrorWithoutFieldsStaysWhatItIs(t *testing.T) {
	t.Parallel()
	err := fault.ToStatus(fault.New(codes.Aborted, "ETAG_MISMATCH", "somebody else changed it")).Err()
	require.Equal(t, err, fileWith(t, validFlow).locate(err))
}

func TestASecretOfAFileIsNotRepeatedInAnError(t *testing.T) {
	t.Parallel()
	doc := fileWith(t, "name: db\ntype: postgres\nsecrets:\n  password: 8675309\n")
	_, err := (&app{}).connectorOf(doc, nil)
	require.ErrorContains(t, err, ":4:13 secrets.password")
	require.NotContains(t, err.Error(), "8675309")
}

// FuzzFlowFile holds that any text is a flow that means the same when it is written and read again, or an error with a
// place in the file; and that the place of any field can be asked for.
func FuzzFlowFile(f *testing.F) {
	for _, seed := range []string{
		validFlow, `{"name": "x", "source": {"connector": "c", "json": {"records": "$.a"}}, "columns": [{"name": "a", "type": "int64", "onError": null}]}`,
		"a: &a {b: *a}\n", "columns:\n- &c {name: a}\n- *c\n", "name: !!binary aGk=\n", "name: |\n  x\n", "---\na: 1\n---\nb: 2\n", "\xff\xfe", "[]", "",
	} {
		f.Add([]byte(seed), "flow.spec.columns[1].on_error.default")
	}
	f.Add([]byte(validFlow), `targets[0].labels["a]b"]..[`)
	f.Fuzz(func(t *testing.T, text []byte, field string) {
		doc, err := parse("flow.yaml", text)
		if err == nil {
			line, column, _ := doc.find(field)
			require.Positive(t, line)
			require.Positive(t, column)
			spec := &flowv1.Flow{}
			if err = doc.decodeValid(spec); err == nil {
				written, err := protojson.Marshal(spec)
				require.NoError(t, err)
				again, err := parse("flow.json", written)
				require.NoError(t, err)
				back := &flowv1.Flow{}
				require.NoError(t, again.decodeValid(back))
				require.True(t, proto.Equal(spec, back), "%s", written)
				return
			}
		}
		var place *fileError
		require.ErrorAs(t, err, &place)
		require.NotEmpty(t, place.lines)
		require.Contains(t, err.Error(), "flow.yaml")
	})
}
