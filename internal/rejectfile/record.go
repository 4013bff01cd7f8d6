package rejectfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// Columns of a reject file.
const (
	ColumnRow    = "_row"
	ColumnFile   = "file"
	ColumnLine   = "line"
	ColumnByte   = "byte"
	ColumnStage  = "stage"
	ColumnErrors = "errors"
	ColumnRecord = "record"
	ColumnRaw    = "raw"
)

// Schema is the Arrow schema of a reject file.
var Schema = arrow.NewSchema([]arrow.Field{
	{Name: ColumnRow, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: ColumnFile, Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: ColumnLine, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: ColumnByte, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: ColumnStage, Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: ColumnErrors, Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: ColumnRecord, Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: ColumnRaw, Type: arrow.BinaryTypes.Binary, Nullable: true},
}, nil)

// Record is one rejected record.
type Record struct {
	// Row is the 0-based ordinal of the staged row; nil for a record that never became one.
	Row *int64
	// File is the name of the source object; empty for a database.
	File string
	// Line (1-based) and Byte (0-based) are where the record starts in a text source; nil otherwise.
	Line, Byte *int64
	Stage      typev1.Stage
	// Errors is a JSON array of objects with column, rule, type, message and value; see [EncodeErrors].
	Errors string
	// Record is the original record as JSON text; empty if its bytes are not text.
	Record string
	// Raw holds the original bytes where JSON cannot.
	Raw []byte
}

// Proto returns the record as the API shows it.
func (r Record) Proto(runID string) (*typev1.Reject, error) {
	errs, err := DecodeErrors(r.Errors)
	if err != nil {
		return nil, err
	}
	return &typev1.Reject{
		RunId:      runID,
		Coordinate: &typev1.Coordinate{Row: r.Row, File: r.File, Line: r.Line, ByteOffset: r.Byte},
		Stage:      r.Stage, Errors: errs, Record: r.Record, Raw: r.Raw,
	}, nil
}

// jsonError is a reason in the JSON of the errors column.
type jsonError struct {
	Column  string  `json:"column"`
	Rule    string  `json:"rule"`
	Type    string  `json:"type"`
	Message string  `json:"message"`
	Value   *string `json:"value"`
}

// EncodeErrors writes reasons as the errors column holds them.
func EncodeErrors(errs ...*typev1.RejectError) string {
	list := make([]jsonError, len(errs))
	for i, e := range errs {
		list[i] = jsonError{Column: e.GetColumn(), Rule: e.GetRule(), Type: e.GetType(), Message: e.GetMessage(), Value: e.Value}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(list); err != nil {
		panic(err) // Strings always encode.
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// DecodeErrors reads the errors column. Members may be missing or null.
func DecodeErrors(text string) ([]*typev1.RejectError, error) {
	var list []jsonError
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("errors of a reject: %w", err)
	}
	errs := make([]*typev1.RejectError, len(list))
	for i, e := range list {
		errs[i] = &typev1.RejectError{Column: e.Column, Rule: e.Rule, Type: e.Type, Message: e.Message, Value: e.Value}
	}
	return errs, nil
}

// StageName returns a stage as the stage column spells it, for example `ingest`.
func StageName(stage typev1.Stage) string {
	return strings.ToLower(strings.TrimPrefix(stage.String(), "STAGE_"))
}

// ParseStage reads the stage column.
func ParseStage(name string) (typev1.Stage, error) {
	v, ok := typev1.Stage_value["STAGE_"+strings.ToUpper(name)]
	if !ok || v == 0 {
		return 0, fmt.Errorf("unknown stage %q", name)
	}
	return typev1.Stage(v), nil
}
