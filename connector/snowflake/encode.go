package snowflake

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	dateLayout      = "2006-01-02"
	timeLayout      = "15:04:05.000000"
	timestampLayout = "2006-01-02 15:04:05.000000"
	// maxText is how many bytes a text can have on the way, whatever the column allows.
	maxText = 16 << 20
)

// encoder turns the columns of a load into the text that a staged file holds, and refuses the rows that no column takes.
type encoder struct {
	columns []connector.Column
	natives []native
}

// encode returns the texts of a batch's columns, without the refused rows, and the ordinals of the others.
func (e encoder) encode(batch arrow.RecordBatch, refuse func(row int64, reason connector.RefusedRow) error) (arrow.RecordBatch, error) {
	ordinals := batch.Column(0).(*array.Int64)
	kept := make([]int, 0, ordinals.Len())
	for i := range ordinals.Len() {
		reason := e.problem(batch, i)
		if reason == nil {
			kept = append(kept, i)
			continue
		}
		if err := refuse(ordinals.Value(i), *reason); err != nil {
			return nil, err
		}
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, stagedSchema(len(e.columns)))
	defer b.Release()
	for _, i := range kept {
		b.Field(0).(*array.Int64Builder).Append(ordinals.Value(i))
	}
	for c := range e.columns {
		from, to := batch.Column(c+1), b.Field(c+1).(*array.StringBuilder)
		text := textOf(from)
		for _, i := range kept {
			if from.IsNull(i) {
				to.AppendNull()
				continue
			}
			to.Append(text(i))
		}
	}
	return b.NewRecordBatch(), nil
}

// problem says why no statement could bring a row in, or returns nil.
func (e encoder) problem(batch arrow.RecordBatch, row int) *connector.RefusedRow {
	for c, n := range e.natives {
		a := batch.Column(c + 1)
		message := ""
		switch {
		case a.IsNull(row):
			if !n.nullable {
				message = "the column does not allow NULL"
			}
		case e.columns[c].Type.Name == connector.TypeBinary:
			if size := int64(len(a.(*array.Binary).Value(row))); n.length > 0 && size > n.length || 2*size > maxText {
				message = "the bytes are more than the column allows"
			}
		default:
			text, ok := a.(*array.String)
			if !ok {
				continue
			}
			switch v := text.Value(row); {
			case len(v) > maxText, n.typ == "TEXT" && n.length > 0 && int64(len(v)) > n.length && int64(utf8.RuneCountInString(v)) > n.length:
				message = "the text is longer than the column allows"
			case e.columns[c].Type.Name == connector.TypeJSON && !sqlload.PlainJSON(v):
				message = "is not JSON that the column can hold"
			case n.typ == "VARIANT" && !exactNumbers(v):
				message = "has a number that VARIANT does not keep exactly"
			}
		}
		if message != "" {
			return &connector.RefusedRow{Column: e.columns[c].Name, Message: message}
		}
	}
	return nil
}

// exactNumbers reports whether VARIANT keeps every number of a JSON text: it holds 38 digits, of which 37 can be behind the
// point, and makes a floating point number of everything else.
func exactNumbers(text string) bool {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			return true
		}
		if number, ok := token.(json.Number); ok && !exactNumber(strings.TrimPrefix(number.String(), "-")) {
			return false
		}
	}
}

func exactNumber(number string) bool {
	if strings.ContainsAny(number, "eE") {
		return false
	}
	whole, fraction, _ := strings.Cut(number, ".")
	return len(strings.TrimPrefix(whole, "0"))+len(fraction) <= 38 && len(fraction) <= maxScale
}

// textOf returns what writes a value of an array, which is not NULL, as text that a cast reads back as it was.
func textOf(from arrow.Array) func(i int) string {
	switch a := from.(type) {
	case *array.Boolean:
		return func(i int) string { return strconv.FormatBool(a.Value(i)) }
	case *array.Int16:
		return func(i int) string { return strconv.FormatInt(int64(a.Value(i)), 10) }
	case *array.Int32:
		return func(i int) string { return strconv.FormatInt(int64(a.Value(i)), 10) }
	case *array.Int64:
		return func(i int) string { return strconv.FormatInt(a.Value(i), 10) }
	case *array.Float32:
		return func(i int) string { return floatText(float64(a.Value(i)), 32) }
	case *array.Float64:
		return func(i int) string { return floatText(a.Value(i), 64) }
	case *array.Decimal128:
		scale := a.DataType().(*arrow.Decimal128Type).Scale
		return func(i int) string { return a.Value(i).ToString(scale) }
	case *array.Date32:
		return func(i int) string { return a.Value(i).ToTime().Format(dateLayout) }
	case *array.Time64:
		return func(i int) string { return a.Value(i).ToTime(arrow.Microsecond).Format(timeLayout) }
	case *array.Timestamp:
		return func(i int) string { return a.Value(i).ToTime(arrow.Microsecond).UTC().Format(timestampLayout) }
	case *array.Binary:
		return func(i int) string { return hex.EncodeToString(a.Value(i)) }
	case *array.String:
		return a.Value
	}
	return func(int) string { return "" }
}

// floatText writes a float with the digits that its own width needs: a float32 is read back as the float64 nearest to
// them, and so keeps its text.
func floatText(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	return strconv.FormatFloat(f, 'g', -1, bits)
}
