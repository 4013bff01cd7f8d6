package databricks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/compress"

	"github.com/lume-data/lume/connector/internal/parquetfile"
)

const (
	// partBytes ends a staged file, groupBytes of compressed pages a row group, which is held until it is whole.
	partBytes  = 256 << 20
	groupBytes = 32 << 20
	groupRows  = 1 << 20
	// removeTimeout bounds the removal of files after a load.
	removeTimeout = 60 * time.Second
)

// staged is what has been staged, as SQL reads it.
type staged struct{ sql string }

// stager stages the rows of one load as Parquet files, named by the hashes of their content.
type stager struct {
	place  staging
	s      *session
	local  string
	folder string
	// keys are the files in the staging place.
	keys []string
}

// newStager makes a local folder for files on their way. Each load, by what tells it from all others, has a folder of its own in the staging place: one that ends
// removes its files, while another of the run may still read the same rows.
func newStager(place staging, s *session, load, target string) (*stager, error) {
	local, err := os.MkdirTemp("", "lume-databricks-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for staged files: %w", err)
	}
	of := sha256.Sum256([]byte(load + "\x00" + target))
	return &stager{place: place, s: s, local: local, folder: "load-" + hex.EncodeToString(of[:12])}, nil
}

// close removes the files, here and in the staging place, as far as they can be reached.
func (g *stager) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	errs := []error{os.RemoveAll(g.local)}
	for _, key := range g.keys {
		errs = append(errs, g.place.remove(ctx, g.s, key))
	}
	return errors.Join(errs...)
}

// parts writes batches of one schema into files.
type parts struct {
	g      *stager
	schema *arrow.Schema
	// selects read one file each.
	selects []string
	// names are the columns' names outside of the files, in which they are c0, c1 …
	names  []string
	file   *os.File
	hash   hash.Hash
	writer *parquetfile.Writer
	bytes  countingWriter
}

// parts begins files with these fields.
func (g *stager) parts(fields []arrow.Field) *parts {
	p := &parts{g: g}
	plain := make([]arrow.Field, len(fields))
	for i, f := range fields {
		p.names = append(p.names, f.Name)
		plain[i] = arrow.Field{Name: fmt.Sprintf("c%d", i), Type: f.Type, Nullable: true}
		if f.Type.ID() == arrow.TIME64 {
			plain[i].Type = arrow.BinaryTypes.String
		}
	}
	// Spark takes dates of files that name no version of it for those of another calendar.
	meta := arrow.NewMetadata([]string{"org.apache.spark.version"}, []string{"4.0.0"})
	p.schema = arrow.NewSchema(plain, &meta)
	return p
}

type countingWriter struct {
	io.Writer
	n int64
}

// Write implements io.Writer.
func (w *countingWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	w.n += int64(n)
	return n, err
}

// begin starts a file unless one is open.
func (p *parts) begin() error {
	if p.writer != nil {
		return nil
	}
	file, err := os.CreateTemp(p.g.local, "part-")
	if err != nil {
		return fmt.Errorf("create a staged file: %w", err)
	}
	p.file, p.hash = file, sha256.New()
	p.bytes = countingWriter{Writer: io.MultiWriter(file, p.hash)}
	p.writer = parquetfile.New(&p.bytes, p.schema, parquetfile.Options{Compression: compress.Codecs.Zstd, GroupBytes: groupBytes, GroupRows: groupRows})
	return nil
}

// write adds columns of equal length.
func (p *parts) write(ctx context.Context, columns []arrow.Array, rows int64) error {
	if rows == 0 {
		return nil
	}
	if err := p.begin(); err != nil {
		return err
	}
	list := slices.Clone(columns)
	for i, c := range columns {
		if t, ok := c.(*array.Time64); ok {
			list[i] = timeTexts(t)
			defer list[i].Release()
		}
	}
	if err := p.writer.Write(list, rows); err != nil {
		return fmt.Errorf("write a staged file: %w", err)
	}
	if p.bytes.n >= partBytes {
		return p.end(ctx)
	}
	return nil
}

// end puts the open file into the staging place.
func (p *parts) end(ctx context.Context) error {
	if p.writer == nil {
		return nil
	}
	_, err := p.writer.Close()
	err = errors.Join(err, p.file.Close())
	p.writer = nil
	if err != nil {
		return fmt.Errorf("end a staged file: %w", err)
	}
	local := p.file.Name()
	key := p.g.folder + "/" + hex.EncodeToString(p.hash.Sum(nil)) + ".parquet"
	p.g.keys = append(p.g.keys, key)
	if err := p.g.place.put(ctx, p.g.s, local, key); err != nil {
		return err
	}
	if err := os.Remove(local); err != nil {
		return fmt.Errorf("remove a staged file: %w", err)
	}
	columns := make([]string, len(p.names))
	for i, name := range p.names {
		columns[i] = fmt.Sprintf("c%d AS %s", i, quote(name))
	}
	p.selects = append(p.selects, "SELECT "+strings.Join(columns, ", ")+" FROM parquet."+quote(p.g.place.path(key)))
	return nil
}

// close ends the last file and returns how SQL reads all of them. Without a row there is one empty file, so that the columns
// have their types.
func (p *parts) close(ctx context.Context) (staged, error) {
	if len(p.selects) == 0 {
		if err := p.begin(); err != nil {
			return staged{}, err
		}
	}
	if err := p.end(ctx); err != nil {
		return staged{}, err
	}
	return staged{sql: strings.Join(p.selects, " UNION ALL ")}, nil
}

// abort drops the open file; the stager removes it.
func (p *parts) abort() {
	if p.writer != nil {
		_ = p.file.Close()
		p.writer = nil
	}
}

// timeTexts writes times of day, for which Delta has no type.
func timeTexts(times *array.Time64) arrow.Array {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	for i := range times.Len() {
		if times.IsNull(i) {
			b.AppendNull()
			continue
		}
		b.Append(times.Value(i).ToTime(arrow.Microsecond).Format("15:04:05.000000"))
	}
	return b.NewArray()
}

// staging is a place that the warehouse can read.
type staging interface {
	// put makes a local file readable under a key. One that is there has the same content.
	put(ctx context.Context, s *session, local, key string) error
	// remove removes a file. A missing one is no error.
	remove(ctx context.Context, s *session, key string) error
	// path is how SQL names a file.
	path(key string) string
}

// volumeFolder is a folder of a Unity Catalog volume: the workspace hands out signed URLs, and the driver sends the file.
type volumeFolder string

func (v volumeFolder) path(key string) string { return string(v) + "/" + key }

func (v volumeFolder) put(ctx context.Context, s *session, local, key string) error {
	return s.exec(ctx, "PUT "+literal(local)+" INTO "+literal(v.path(key))+" OVERWRITE", filepath.Dir(local))
}

func (v volumeFolder) remove(ctx context.Context, s *session, key string) error {
	return s.exec(ctx, "REMOVE "+literal(v.path(key)), os.TempDir())
}

// localFolder is a folder that a server on this machine can read.
type localFolder string

func (f localFolder) path(key string) string { return "file:" + string(f) + "/" + key }

func (f localFolder) put(_ context.Context, _ *session, local, key string) error {
	to := filepath.Join(string(f), key)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // Another user's server reads it.
		return err
	}
	content, err := os.ReadFile(local)
	if err != nil {
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(to), "part-")
	if err != nil {
		return err
	}
	_, err = part.Write(content)
	if err = errors.Join(err, part.Chmod(0o644), part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), to)
}

func (f localFolder) remove(_ context.Context, _ *session, key string) error {
	err := os.Remove(filepath.Join(string(f), key))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
