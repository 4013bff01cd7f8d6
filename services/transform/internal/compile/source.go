package compile

import (
	"slices"
	"strings"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/services/transform/internal/cast"
)

// Names of columns that staged files carry beside the source's.
const (
	RawColumn    = "_raw"
	RecordColumn = "_record"
)

// Source is what is known of the staged data.
type Source struct {
	// Columns in the order of the staged file, without those of RawColumn and RecordColumn. If Known is false there may be
	// others.
	Columns []Column
	Known   bool
	// Layout are all columns of the staged file in order. Empty: Columns, then RawColumn and RecordColumn as flagged.
	Layout []string
	// Raw and Unnested are set if the file has RawColumn and RecordColumn.
	Raw, Unnested bool
	// Lookups are the staged references by name; a missing one is not known yet.
	Lookups map[string][]Column
}

// Column is a staged column: its name as delivered and the engine's type.
type Column struct {
	Name, Type string
}

// SourceColumns reads columns as manifests and requests tell them.
func SourceColumns(columns []*typev1.StagedColumn) []Column {
	out := make([]Column, 0, len(columns))
	for _, c := range columns {
		out = append(out, Column{Name: c.GetName(), Type: stagedType(c.GetType())})
	}
	return out
}

// stagedType is the engine's type of a staged column. What is no type of Lume is staged as text.
func stagedType(name string) string {
	t, err := connector.ParseType(name)
	if err != nil {
		return "VARCHAR"
	}
	return cast.SQLType(t)
}

// IngestSource reads what ingest committed.
func IngestSource(m *typev1.IngestManifest) Source {
	s := Source{Columns: SourceColumns(m.GetColumns()), Known: true, Raw: m.GetHasRaw(), Unnested: m.GetUnnested(), Lookups: map[string][]Column{}}
	s.Columns = slices.DeleteFunc(s.Columns, func(c Column) bool {
		return s.Raw && c.Name == RawColumn || s.Unnested && c.Name == RecordColumn
	})
	for _, r := range m.GetReferences() {
		s.Lookups[strings.ToLower(r.GetName())] = SourceColumns(r.GetColumns())
	}
	return s
}

// WithLayout returns the source with the columns of its staged file, as that file tells them.
func (s Source) WithLayout(columns []string) Source {
	s.Layout = nil
	if !slices.Equal(s.layout(), columns) {
		s.Layout = columns
	}
	return s
}

// layout returns the columns of the staged file.
func (s Source) layout() []string {
	if len(s.Layout) > 0 {
		return s.Layout
	}
	names := columnNames(s.Columns)
	if s.Raw {
		names = append(names, RawColumn)
	}
	if s.Unnested {
		names = append(names, RecordColumn)
	}
	return names
}

func columnNames(columns []Column) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return names
}

// isText reports whether all columns of the flow's source are text.
func isText(source *flowv1.Source) bool { return source.GetCsv() != nil || source.GetJson() != nil }

// isTextReference does the same for a reference, whose default is CSV.
func isTextReference(r *flowv1.Reference) bool { return r.GetParquet() == nil && r.GetQuery() == "" }

// aliases gives every column of a file a name that differs from the others in more than case: its own if it is the
// first of its kind. Files are read by position, so that an alias may be any name.
func aliases(names []string) []string {
	taken := make(map[string]bool, len(names))
	out := make([]string, len(names))
	for i, name := range names {
		alias := strings.ReplaceAll(name, "\x00", "#")
		if alias == "" {
			alias = "column"
		}
		for taken[strings.ToLower(alias)] {
			alias += "#"
		}
		taken[strings.ToLower(alias)] = true
		out[i] = alias
	}
	return out
}
