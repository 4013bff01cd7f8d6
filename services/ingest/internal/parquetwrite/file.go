package parquetwrite

import (
	"encoding/binary"
	"fmt"
	"os"
)

const (
	magic = "PAR1"
	// createdBy names the writer in the footer.
	createdBy = "lume ingest"
)

// File is a Parquet file that is being written. Not safe for concurrent use.
type File struct {
	file    *os.File
	columns []Column
	groups  []groupMeta
	offset  int64
	rows    int64
}

// groupMeta is what the footer says of a row group.
type groupMeta struct {
	offset, rows int64
	chunks       []chunkMeta
}

// Create begins a file, which must not exist yet.
func Create(path string, columns []Column) (*File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create a part: %w", err)
	}
	f := &File{file: file, columns: columns}
	if err := f.write([]byte(magic)); err != nil {
		_ = file.Close()
		return nil, err
	}
	return f, nil
}

func (f *File) write(data []byte) error {
	n, err := f.file.Write(data)
	f.offset += int64(n)
	if err != nil {
		return fmt.Errorf("write a part: %w", err)
	}
	return nil
}

// Append writes a row group of these columns after those before it.
func (f *File) Append(group *RowGroup) error {
	f.groups = append(f.groups, groupMeta{offset: f.offset, rows: group.rows, chunks: group.chunks})
	f.rows += group.rows
	return f.write(group.data)
}

// Rows returns how many rows were appended.
func (f *File) Rows() int64 { return f.rows }

// Size returns how many bytes are written.
func (f *File) Size() int64 { return f.offset }

// Abort gives up the file, which stays without a footer.
func (f *File) Abort() { _ = f.file.Close() }

// Close writes the footer and closes the file.
func (f *File) Close() error {
	footer := f.footer()
	footer = binary.LittleEndian.AppendUint32(footer, uint32(len(footer)))
	footer = append(footer, magic...)
	if err := f.write(footer); err != nil {
		_ = f.file.Close()
		return err
	}
	if err := f.file.Close(); err != nil {
		return fmt.Errorf("close a part: %w", err)
	}
	return nil
}

func (f *File) footer() []byte {
	var t thrift
	t.reset()
	t.i32(1, 2)
	t.list(2, thriftStruct, len(f.columns)+1)
	t.openElement()
	t.text(4, "schema")
	t.i32(5, int32(len(f.columns)))
	t.close()
	for _, c := range f.columns {
		c.schema(&t)
	}
	t.i64(3, f.rows)
	t.list(4, thriftStruct, len(f.groups))
	for _, g := range f.groups {
		g.encode(&t, f.columns)
	}
	t.text(6, createdBy)
	t.close()
	return t.buf
}

func (c Column) schema(t *thrift) {
	t.openElement()
	if c.Kind == Int64 {
		t.i32(1, physicalInt64)
		t.i32(3, repetitionRequired)
		t.text(4, c.Name)
	} else {
		t.i32(1, physicalByteArray)
		t.i32(3, repetitionOptional)
		t.text(4, c.Name)
		t.i32(6, convertedUTF8)
		t.open(10)
		t.open(logicalString)
		t.close()
		t.close()
	}
	t.close()
}

func (g groupMeta) encode(t *thrift, columns []Column) {
	var plain, stored int64
	for _, c := range g.chunks {
		plain += c.plainSize
		stored += c.size
	}
	t.openElement()
	t.list(1, thriftStruct, len(g.chunks))
	for i, c := range g.chunks {
		t.openElement()
		t.i64(2, g.offset+c.offset)
		t.open(3)
		c.encode(t, columns[i], g.offset)
		t.close()
		t.close()
	}
	t.i64(2, plain)
	t.i64(3, g.rows)
	t.i64(5, g.offset)
	t.i64(6, stored)
	t.close()
}

func (c chunkMeta) encode(t *thrift, column Column, base int64) {
	typ, codec := int32(physicalByteArray), int32(codecZstd)
	if column.Kind == Int64 {
		typ, codec = physicalInt64, codecUncompressed
	}
	t.i32(1, typ)
	t.list(2, thriftI32, len(c.encodings))
	for _, e := range c.encodings {
		t.buf = binary.AppendVarint(t.buf, int64(e))
	}
	t.list(3, thriftBinary, 1)
	t.textElement(column.Name)
	t.i32(4, codec)
	t.i64(5, c.values)
	t.i64(6, c.plainSize)
	t.i64(7, c.size)
	first := base + c.offset
	t.i64(9, first+c.dictionarySize)
	if c.dictionary {
		t.i64(11, first)
	}
	t.open(12)
	t.i64(3, c.nulls)
	t.close()
}
