package oracle

import (
	"google.golang.org/protobuf/types/known/structpb"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
)

// Spec writes the flow as the platform is told it.
func (f Flow) Spec() *flowv1.Flow {
	spec := &flowv1.Flow{
		Name:       "oracle",
		Source:     &flowv1.Source{Connector: "files", Format: &flowv1.Source_Csv{Csv: &flowv1.Csv{}}},
		Duplicates: f.Duplicates,
		Target:     &flowv1.Target{Connector: "warehouse", Table: "rows", Mode: "append"},
	}
	if f.Filter != nil {
		spec.Filter = f.Filter.SQL
	}
	for _, c := range f.Columns {
		column := &flowv1.Column{
			Name: c.Name, Type: c.Type, From: c.From.SQL, Format: c.Format, Required: c.Required, Key: c.Key,
			OneOf: c.OneOf, Pattern: c.Pattern,
		}
		switch c.OnError {
		case "null":
			column.OnError = structpb.NewStringValue("null")
		case "default":
			column.OnError = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"default": structpb.NewStringValue(c.Default)}})
		}
		spec.Columns = append(spec.Columns, column)
	}
	for _, r := range f.Rules {
		rule := &flowv1.Rule{Name: r.Name, Unique: r.Unique}
		if len(r.Unique) == 0 {
			rule.Check = r.Check.SQL
		}
		if r.Warn {
			rule.OnError = "warn"
		}
		spec.Rules = append(spec.Rules, rule)
	}
	return spec
}
