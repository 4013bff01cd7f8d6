package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/connector"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/csvscan"
	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
	"github.com/lume-data/lume/services/ingest/internal/source"
)

// textType is the type of staged columns of text formats.
const textType = "string"

// object is an object that is being staged.
type object struct {
	stager      *Stager
	store       connector.ObjectSource
	path        string
	compression string
	batch       Batch
}

// ahead is how many bytes of the object may be fetched before they are needed. A preview needs few.
func (o object) ahead() int64 {
	if o.batch.MaxRecords > 0 {
		return 0
	}
	return o.stager.cfg.Memory / 8
}

// decode opens the object and hands it on decompressed and decoded.
func (o object) decode(ctx context.Context, encoding string, guess bool, use func(*source.Object, source.Text, chunk.Limits) error) error {
	in, err := source.Open(ctx, o.store, o.path, o.ahead())
	if err != nil {
		return err
	}
	defer in.Close()
	plain, err := in.Plain(o.compression, true)
	if err != nil {
		return err
	}
	defer func() { _ = plain.Close() }()
	decoded, err := source.Decode(plain, encoding, guess)
	if err != nil {
		return err
	}
	limits := chunk.Limits{Bytes: groupBytes, Records: groupRows, PartBytes: o.batch.partBytes()}
	if n := o.batch.MaxRecords; n > 0 {
		limits.Records = int(min(n, groupRows)) // A preview need not parse what it does not show.
	}
	return use(in, decoded, limits)
}

// stageText stages an object of text: opens it, prepares it, runs the pipeline and closes the account.
func (o object) stageText(ctx context.Context, encoding string, guess bool, m *typev1.IngestManifest,
	prepare func(source.Text, chunk.Limits) (*text, error)) (digest []byte, err error) {
	err = o.decode(ctx, encoding, guess, func(in *source.Object, decoded source.Text, limits chunk.Limits) error {
		t, err := prepare(decoded, limits)
		if err != nil {
			return err
		}
		t.encoding, t.maxRecords = decoded.Encoding, o.batch.MaxRecords
		if err := o.run(ctx, in, t, m); err != nil {
			return err
		}
		digest, err = o.account(in, m)
		return err
	})
	return digest, err
}

// run stages text that is ready.
func (o object) run(ctx context.Context, in *source.Object, t *text, m *typev1.IngestManifest) error {
	out := newParts(ctx, o.stager.cfg.Store, o.batch, m.GetSourceFile(), t.layout())
	p := pipeline{text: t, workers: o.stager.cfg.Workers, memory: o.stager.cfg.Memory - o.ahead()}
	err := p.run(ctx, func(e encoded) error {
		m.RecordsRead += e.records
		if err := out.take(e); err != nil {
			return err
		}
		o.batch.Progress(out.rows, in.Delivered())
		return nil
	})
	if err == nil {
		err = out.finish(m)
	}
	if err != nil {
		out.abort()
		return err
	}
	for _, c := range t.columns {
		m.Columns = append(m.Columns, &typev1.StagedColumn{Name: c.Name, Type: textType})
	}
	m.SourceEtag = in.Info().ETag
	return nil
}

// account closes the account of an object. A preview counts and digests what it has read.
func (o object) account(in *source.Object, m *typev1.IngestManifest) (digest []byte, err error) {
	if o.batch.MaxRecords > 0 {
		digest, m.SourceBytes = in.Stop()
		return digest, nil
	}
	digest, m.SourceBytes, err = in.Finish()
	return digest, err
}

// csv stages separated text.
func (o object) csv(ctx context.Context, spec *flowv1.Csv, m *typev1.IngestManifest) ([]byte, error) {
	return o.stageText(ctx, spec.GetEncoding(), false, m, func(decoded source.Text, limits chunk.Limits) (*text, error) {
		opts := csvOptions(spec, decoded)
		if err := opts.Validate(); err != nil {
			return nil, fault.New(codes.InvalidArgument, "INVALID_CSV_OPTIONS", "the source's csv options do not fit together: %s", err).
				WithNext("correct the flow's source.csv")
		}
		scan := csvscan.NewScanner(decoded, opts, limits)
		names, err := columnNames(scan, spec, o.batch.Columns)
		if err != nil {
			return nil, err
		}
		scan.OneColumn = len(names) == 1
		t := &text{scanner: scan, grow: func(f func(int) error) { scan.Grow = f },
			newParser: func() parser { return csvscan.NewSplitter(opts, len(names)) }}
		for _, name := range names {
			t.columns = append(t.columns, parquetwrite.Column{Name: name})
		}
		return t, nil
	})
}

func csvOptions(spec *flowv1.Csv, decoded source.Text) csvscan.Options {
	opts := csvscan.Options{
		Delimiter: spec.GetDelimiter(), Quote: spec.GetQuote(), NoQuote: spec != nil && spec.Quote != nil && spec.GetQuote() == "",
		NullTokens: spec.GetNullTokens(), MaxRecord: int(spec.GetMaxRecordBytes()), Base: decoded.Base,
	}
	if len(opts.NullTokens) == 0 {
		opts.NullTokens = nil
		if spec.GetKeepEmpty() {
			opts.NullTokens = []string{}
		}
	}
	if !decoded.Encoding.UTF8() {
		opts.Width = decoded.Encoding.Width
	}
	return opts
}

// nameOfNothing is the column of an empty file for a flow that reads none, since a Parquet file has at least one.
const nameOfNothing = "column_1"

// columnNames skips lines and returns the names of the columns: of the header, or of the flow. A file without a record
// where a header is expected is an empty batch with the columns that the flow reads.
func columnNames(scan *csvscan.Scanner, spec *flowv1.Csv, wanted []string) ([]string, error) {
	if err := scan.SkipLines(int(spec.GetSkipLines())); err != nil {
		return nil, err
	}
	names := spec.GetColumnNames()
	header := len(names) == 0
	if spec != nil && spec.Header != nil {
		header = spec.GetHeader()
	}
	if !header {
		if len(names) == 0 {
			return nil, fault.New(codes.InvalidArgument, "COLUMN_NAMES_MISSING", "the source has no header, and the flow names no columns").
				WithNext("list the flow's source.csv.column_names, or set source.csv.header")
		}
		return names, invalidHeader(csvscan.CheckNames(names, 0))
	}
	delivered, line, err := scan.Header()
	if errors.Is(err, io.EOF) {
		if len(names) == 0 {
			names = wanted
		}
		if len(names) == 0 {
			names = []string{nameOfNothing}
		}
		return names, nil
	}
	if err != nil {
		return nil, invalidHeader(err)
	}
	if len(names) == 0 {
		return delivered, invalidHeader(csvscan.CheckNames(delivered, line))
	}
	if len(names) != len(delivered) {
		return nil, invalidHeader(&csvscan.HeaderError{Line: line,
			Message: fmt.Sprintf("the header has %d columns where the flow's column_names has %d", len(delivered), len(names))})
	}
	return names, invalidHeader(csvscan.CheckNames(names, 0))
}

// invalidHeader codes a header's fault.
func invalidHeader(err error) error {
	var header *csvscan.HeaderError
	if !errors.As(err, &header) {
		return err
	}
	e := fault.New(codes.InvalidArgument, "INVALID_HEADER", "%s", header.Message).
		WithNext("give every column of the file a name of its own, or name the columns in the flow's source.csv.column_names").
		WithMeta("names", strings.Join(header.Names, ", "))
	if header.Line > 0 {
		e = e.WithMeta("line", strconv.FormatInt(header.Line, 10)).WithCoordinate(&typev1.Coordinate{Line: &header.Line})
	}
	return e
}

// fileName returns the object's own name, without the folder that it lies in.
func fileName(sourcePath string) string {
	if u, err := url.Parse(sourcePath); err == nil && u.Path != "" {
		return path.Base(u.Path)
	}
	return path.Base(sourcePath)
}
