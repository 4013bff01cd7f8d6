package stage

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// inputDigest returns the digest of a batch: of its source alone, or of the source's and each reference's.
func inputDigest(source []byte, references []reference) string {
	if len(references) == 0 {
		return "sha256:" + hex.EncodeToString(source)
	}
	h := sha256.New()
	fmt.Fprintf(h, "source %x\n", source)
	for _, r := range references {
		fmt.Fprintf(h, "reference %s %x\n", r.staged.GetName(), r.digest)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// rowDigest digests rows in delivered order: names and types of the columns, then each value behind a byte that says
// whether it is NULL. Fixed-width values are little-endian, text is behind its length.
type rowDigest struct {
	hash hash.Hash
	buf  []byte
}

func newRowDigest(columns []*typev1.StagedColumn) *rowDigest {
	d := &rowDigest{hash: sha256.New()}
	for _, c := range columns {
		d.buf = appendText(d.buf, []byte(c.GetName()))
		d.buf = appendText(d.buf, []byte(c.GetType()))
	}
	d.buf = append(d.buf, '\n')
	return d
}

func (d *rowDigest) sum() []byte {
	d.hash.Write(d.buf)
	d.buf = d.buf[:0]
	return d.hash.Sum(nil)
}

// row adds a row and returns how many bytes it is long in this form.
func (d *rowDigest) row(batch arrow.RecordBatch, row int) (int, error) {
	if len(d.buf) > 1<<20 {
		d.hash.Write(d.buf)
		d.buf = d.buf[:0]
	}
	before := len(d.buf)
	for _, column := range batch.Columns() {
		if column.IsNull(row) {
			d.buf = append(d.buf, 0)
			continue
		}
		d.buf = append(d.buf, 1)
		var err error
		if d.buf, err = appendValue(d.buf, column, row); err != nil {
			return 0, err
		}
	}
	return len(d.buf) - before, nil
}

func appendText(buf, text []byte) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(text))), text...)
}

func appendValue(buf []byte, column arrow.Array, row int) ([]byte, error) {
	le := binary.LittleEndian
	switch a := column.(type) {
	case *array.String:
		buf = binary.AppendUvarint(buf, uint64(a.ValueLen(row)))
		return append(buf, a.Value(row)...), nil
	case *array.Binary:
		return appendText(buf, a.Value(row)), nil
	case *array.Boolean:
		if a.Value(row) {
			return append(buf, 1), nil
		}
		return append(buf, 0), nil
	case *array.Int16:
		return le.AppendUint16(buf, uint16(a.Value(row))), nil
	case *array.Int32:
		return le.AppendUint32(buf, uint32(a.Value(row))), nil
	case *array.Date32:
		return le.AppendUint32(buf, uint32(a.Value(row))), nil
	case *array.Int64:
		return le.AppendUint64(buf, uint64(a.Value(row))), nil
	case *array.Time64:
		return le.AppendUint64(buf, uint64(a.Value(row))), nil
	case *array.Timestamp:
		return le.AppendUint64(buf, uint64(a.Value(row))), nil
	case *array.Float32:
		return le.AppendUint32(buf, math.Float32bits(a.Value(row))), nil
	case *array.Float64:
		return le.AppendUint64(buf, math.Float64bits(a.Value(row))), nil
	case *array.Decimal128:
		v := a.Value(row)
		return le.AppendUint64(le.AppendUint64(buf, v.LowBits()), uint64(v.HighBits())), nil
	}
	return nil, fmt.Errorf("a column has the type %s, which no connector may deliver", column.DataType())
}
