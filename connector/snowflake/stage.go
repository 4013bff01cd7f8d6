package snowflake

import (
	"bufio"
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
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet/compress"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/parquetfile"
)

const (
	// A file ends after so many bytes of its compressed form; a warehouse loads several side by side.
	fileBytes = 64 << 20
	// groupBytes of compressed pages end a row group, which is held until it is whole.
	groupRows  = 64 << 10
	groupBytes = 8 << 20
	// maxFiles is how many files one COPY can name.
	maxFiles = 1000
)

// stagedRow and stagedColumn name the columns of a staged file and of the temporary table: no flow has such names.
const stagedRow = "_lume_row"

func stagedColumn(i int) string { return "_lume_" + strconv.Itoa(i) }

// stagedSchema is that of a staged file: the ordinal of the row, then texts.
func stagedSchema(columns int) *arrow.Schema {
	fields := []arrow.Field{{Name: stagedRow, Type: arrow.PrimitiveTypes.Int64}}
	for i := range columns {
		fields = append(fields, arrow.Field{Name: stagedColumn(i), Type: arrow.BinaryTypes.String, Nullable: true})
	}
	return arrow.NewSchema(fields, nil)
}

// stage writes rows to Parquet files and PUTs them under a path of the user's stage. A file has the name of its content,
// so that another attempt, which writes the same files, need not send them again. Not safe for concurrent use.
type stage struct {
	session *session
	schema  *arrow.Schema
	// path is the stage's folder, with a slash at its end.
	path string
	// dir is the folder of the file that is being written.
	dir   string
	file  *parquetFile
	names []string
	// rows is how many were put.
	rows int64
}

// parquetFile is a file that is being written.
type parquetFile struct {
	file   *os.File
	buffer *bufio.Writer
	hash   hash.Hash
	size   *counter
	writer *parquetfile.Writer
}

// counter counts the bytes that pass.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// stagePath is where the files of a run's target are. It has no character that must be quoted.
func stagePath(runID, target string) string {
	return "@~/lume/" + plain(runID) + "/" + plain(target) + "/"
}

// stageFolder is where loads put their files that take the place of an aborted marker with a fence, or of none, for 0. All
// attempts of one resumption share it. A settlement removes the folder of the marker that it has raised: a load that is claimed
// after it puts its files elsewhere.
func stageFolder(runID, target string, aborted int64) string {
	return stagePath(runID, target) + strconv.FormatInt(aborted, 10) + "/"
}

// plain returns a name as it is if a stage's path can have it, or the hash of it.
func plain(name string) string {
	safe := func(r rune) bool {
		return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if name != "" && len(name) <= 64 && strings.IndexFunc(name, func(r rune) bool { return !safe(r) }) < 0 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// newStage makes a stage for rows of a schema. Close it.
func (s *session) newStage(path string, schema *arrow.Schema) (*stage, error) {
	dir, err := os.MkdirTemp("", "lume-snowflake-")
	if err != nil {
		return nil, diskError(err)
	}
	return &stage{session: s, schema: schema, path: path, dir: dir}, nil
}

func diskError(err error) error {
	return &connector.Error{Kind: connector.KindUnavailable, Reason: "DISK_FAULT", Message: "the folder for temporary files cannot be written",
		Next: "make room in TMPDIR of the service", Cause: err}
}

// close removes what is left on this machine.
func (g *stage) close() error {
	if g.file != nil {
		_ = g.file.file.Close()
	}
	return os.RemoveAll(g.dir)
}

// write adds rows.
func (g *stage) write(ctx context.Context, batch arrow.RecordBatch) error {
	if batch.NumRows() == 0 {
		return nil
	}
	if g.file == nil {
		file, err := g.create()
		if err != nil {
			return diskError(err)
		}
		g.file = file
	}
	f := g.file
	if err := f.writer.Write(batch.Columns(), batch.NumRows()); err != nil {
		return diskError(err)
	}
	g.rows += batch.NumRows()
	if f.size.n >= fileBytes {
		return g.put(ctx)
	}
	return nil
}

func (g *stage) create() (*parquetFile, error) {
	file, err := os.Create(filepath.Join(g.dir, "part"))
	if err != nil {
		return nil, err
	}
	f := &parquetFile{file: file, buffer: bufio.NewWriterSize(file, 1<<20), hash: sha256.New(), size: &counter{}}
	f.writer = parquetfile.New(io.MultiWriter(f.buffer, f.hash, f.size), g.schema,
		parquetfile.Options{Compression: compress.Codecs.Snappy, GroupBytes: groupBytes, GroupRows: groupRows})
	return f, nil
}

// finish puts the last file.
func (g *stage) finish(ctx context.Context) error {
	if g.file == nil {
		return nil
	}
	return g.put(ctx)
}

// put ends the file and sends it.
func (g *stage) put(ctx context.Context) error {
	f := g.file
	g.file = nil
	_, err := f.writer.Close()
	if err = errors.Join(err, f.buffer.Flush(), f.file.Close()); err != nil {
		return diskError(err)
	}
	name := hex.EncodeToString(f.hash.Sum(nil)) + ".parquet"
	path := filepath.Join(g.dir, name)
	if err := os.Rename(f.file.Name(), path); err != nil {
		return diskError(err)
	}
	if err := g.session.putFile(ctx, path, g.path); err != nil {
		return err
	}
	// Two files of one content are one file, and would be loaded once: the ordinals keep files apart.
	g.names = append(g.names, name)
	if err := os.Remove(path); err != nil {
		return diskError(err)
	}
	return nil
}

// putFile sends a file to a folder of a stage. One of its name is left there as it is.
func (s *session) putFile(ctx context.Context, path, folder string) error {
	answer, err := s.records(ctx, fmt.Sprintf("PUT %s %s AUTO_COMPRESS=FALSE SOURCE_COMPRESSION=NONE OVERWRITE=FALSE PARALLEL=4", literal("file://"+path), folder))
	if err != nil {
		return err
	}
	if len(answer) != 1 || !slices.Contains([]string{"UPLOADED", "SKIPPED"}, answer[0]["status"]) {
		return &connector.Error{Kind: connector.KindUnavailable, Reason: "STAGE_FAILED", Message: "a file could not be sent to the user's stage",
			Next: "check that the service may connect to the account's storage (SYSTEM$ALLOWLIST)"}
	}
	return nil
}

// copyInto copies staged files into a table, and checks that every row is there. columns are the table's, and values what
// they are made from. The history of loads, by which COPY would pass over files of known names, has no part in it.
func (g *stage) copyInto(ctx context.Context, table string, columns, values []string) error {
	loaded := int64(0)
	for names := range slices.Chunk(g.names, maxFiles) {
		answer, err := g.session.records(ctx, fmt.Sprintf("COPY INTO %s (%s) FROM (SELECT %s FROM %s) FILES = %s "+
			"FILE_FORMAT = (TYPE = PARQUET BINARY_AS_TEXT = FALSE TRIM_SPACE = FALSE NULL_IF = ()) ON_ERROR = ABORT_STATEMENT PURGE = FALSE FORCE = TRUE",
			table, dialect.Names(columns), strings.Join(values, ", "), g.path, literals(names)))
		if err != nil {
			return err
		}
		for _, file := range answer {
			n, err := strconv.ParseInt(file["rows_loaded"], 10, 64)
			if err != nil || file["status"] != "LOADED" {
				return unexpected("COPY has not loaded a staged file")
			}
			loaded += n
		}
	}
	if loaded != g.rows {
		return &connector.Error{Kind: connector.KindUnavailable, Reason: "ROWS_LOST", Message: fmt.Sprintf("COPY has loaded %d rows of %d", loaded, g.rows),
			Next: "try again", Meta: map[string]string{"loaded": strconv.FormatInt(loaded, 10), "sent": strconv.FormatInt(g.rows, 10)}}
	}
	return nil
}

// staged writes the expression that reads a column of a staged file.
func staged(name, typ string) string { return "$1:" + dialect.Quote(name) + "::" + typ }
