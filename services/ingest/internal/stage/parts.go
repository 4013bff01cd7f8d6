package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/rejectfile"
	"github.com/lume-data/lume/services/ingest/internal/jsonscan"
	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
)

// uploads is how many finished parts may be on their way to the staging store.
const uploads = 2

// locationColumns are the columns of the file beside a part that says where each row stood in the source.
var locationColumns = []parquetwrite.Column{{Name: "line", Kind: parquetwrite.Int64}, {Name: "byte", Kind: parquetwrite.Int64}}

// parts collects what is staged: numbered parts, and the rejects. A part without rows is not staged, unless it would
// be the only one. Not safe for concurrent use.
type parts struct {
	store Store
	batch Batch
	// columns of the data, for text.
	columns []parquetwrite.Column
	file    string

	put  *errgroup.Group
	ctx  context.Context
	list []*typev1.StagedPart
	rows int64
	open *part

	rejects   *rejectfile.Writer
	malformed int64
	// reasons is the last reason in the form of the reject file, of rejectReason: most are like the one before.
	reasons      string
	rejectReason reason
	quoted       []byte
}

// reason is a reason that is about a whole record.
type reason struct{ typ, message string }

// part is a part that is being written.
type part struct {
	index           int
	firstRow        int64
	data, locations *parquetwrite.File
}

func newParts(ctx context.Context, store Store, batch Batch, file string, columns []parquetwrite.Column) *parts {
	put, ctx := errgroup.WithContext(ctx)
	put.SetLimit(uploads)
	return &parts{store: store, batch: batch, columns: columns, put: put, ctx: ctx, file: file}
}

// path returns where the file of that name is written.
func (p *parts) path(name string) string { return filepath.Join(p.batch.Dir, name) }

// name returns the name of a part's file.
func (p *parts) name(n int) string {
	if p.batch.reference != nil {
		return "reference-" + p.batch.reference.GetName() + ".parquet"
	}
	return fmt.Sprintf("part-%05d.parquet", n)
}

func locationsName(n int) string { return fmt.Sprintf("part-%05d.locations.parquet", n) }

// take appends what a worker made of a chunk.
func (p *parts) take(e encoded) error {
	for _, r := range e.rejects {
		if err := p.reject(r); err != nil {
			return err
		}
	}
	for i, group := range e.groups {
		if p.open == nil {
			if err := p.begin(); err != nil {
				return err
			}
		}
		if err := p.open.data.Append(group); err != nil {
			return err
		}
		if err := p.open.locations.Append(e.locations[i]); err != nil {
			return err
		}
		p.rows += group.Rows()
		if err := p.fits(p.open.data.Size()); err != nil {
			return err
		}
	}
	if e.endOfPart {
		return p.end()
	}
	return nil
}

func (p *parts) begin() error {
	n := len(p.list)
	data, err := parquetwrite.Create(p.path(p.name(n)), p.columns)
	if err != nil {
		return err
	}
	locations, err := parquetwrite.Create(p.path(locationsName(n)), locationColumns)
	if err != nil {
		data.Abort()
		return err
	}
	p.open = &part{index: n, firstRow: p.rows, data: data, locations: locations}
	return nil
}

// fits fails for a reference that is larger than it may be.
func (p *parts) fits(size int64) error {
	if p.batch.reference == nil {
		return nil
	}
	limit := p.batch.reference.GetMaxBytes()
	if limit == 0 {
		limit = DefaultReferenceBytes
	}
	if size <= limit {
		return nil
	}
	name := p.batch.reference.GetName()
	return fault.New(codes.FailedPrecondition, "REFERENCE_TOO_LARGE", "reference %s is larger than %d bytes when staged", name, limit).
		WithMeta("reference", name).WithMeta("max_bytes", strconv.FormatInt(limit, 10)).
		WithNext("raise the reference's max_bytes, or give it fewer rows and columns")
}

// end closes the open part and sends it to the store.
func (p *parts) end() error {
	open := p.open
	if open == nil {
		return nil
	}
	p.open = nil
	dataErr, locationsErr := open.data.Close(), open.locations.Close()
	if dataErr != nil {
		return dataErr
	}
	if locationsErr != nil {
		return locationsErr
	}
	staged := &typev1.StagedPart{FirstRow: open.firstRow}
	p.list = append(p.list, staged)
	p.put.Go(func() (err error) {
		rows := open.data.Rows()
		if staged.Data, err = p.send(p.name(open.index), rows); err != nil || p.batch.reference != nil {
			return err
		}
		staged.Locations, err = p.send(locationsName(open.index), rows)
		return err
	})
	return nil
}

func (p *parts) send(name string, rows int64) (*typev1.StagedObject, error) {
	object, err := p.store.Put(p.ctx, p.batch.Prefix+name, p.path(name), rows)
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", name, err)
	}
	// The work folder need not hold the whole batch. A store on the same file system may have taken the file itself.
	if err := os.Remove(p.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return object, nil
}

// reject writes a record that is malformed. In a reference it fails: a lookup that finds nothing for that reason would be
// worse.
func (p *parts) reject(r rejected) error {
	if p.batch.reference != nil {
		return p.malformedReference(r)
	}
	if p.rejects == nil {
		w, err := rejectfile.Create(p.path(rejectsName))
		if err != nil {
			return fmt.Errorf("create the rejects: %w", err)
		}
		p.rejects = w
	}
	p.malformed++
	record := rejectfile.Record{File: p.file, Stage: typev1.Stage_STAGE_INGEST, Record: r.record, Raw: r.raw, Errors: p.encode(r)}
	if r.placed {
		record.Line, record.Byte = &r.line, &r.offset
	}
	if r.text != nil && r.record == "" {
		p.quoted = jsonscan.AppendString(p.quoted[:0], r.text)
		record.Record = string(p.quoted)
	}
	if err := p.rejects.Append(record); err != nil {
		return fmt.Errorf("write the rejects: %w", err)
	}
	return nil
}

// encode returns the reason of a reject as the reject file holds it.
func (p *parts) encode(r rejected) string {
	if of := (reason{r.typ, r.message}); r.column != "" || of != p.rejectReason {
		p.rejectReason = reason{}
		if r.column == "" {
			p.rejectReason = of
		}
		p.reasons = rejectfile.EncodeErrors(&typev1.RejectError{Type: r.typ, Column: r.column, Message: r.message, Value: r.value})
	}
	return p.reasons
}

func (p *parts) malformedReference(r rejected) error {
	name := p.batch.reference.GetName()
	e := fault.New(codes.InvalidArgument, "REFERENCE_MALFORMED", "reference %s has a record that cannot be read: %s", name, r.message).
		WithMeta("reference", name).WithNext("correct the reference's data")
	if r.placed {
		e = e.WithCoordinate(&typev1.Coordinate{File: p.file, Line: &r.line, ByteOffset: &r.offset})
	}
	return e
}

const rejectsName = "rejects.parquet"

// finish sends what is left and waits until everything is in the store.
func (p *parts) finish(m *typev1.IngestManifest) error {
	if p.open == nil && len(p.list) == 0 {
		// A batch without rows is one empty part: what reads it still sees the columns.
		if err := p.begin(); err != nil {
			return err
		}
	}
	if err := p.end(); err != nil {
		return err
	}
	if p.rejects != nil {
		rows, err := p.rejects.Close()
		p.rejects = nil
		if err != nil {
			return fmt.Errorf("close the rejects: %w", err)
		}
		p.put.Go(func() (err error) {
			m.Rejects, err = p.send(rejectsName, rows)
			return err
		})
	}
	if err := p.put.Wait(); err != nil {
		return err
	}
	m.Parts, m.Malformed = p.list, p.malformed
	return nil
}

// abort gives up what is open, and waits.
func (p *parts) abort() {
	if p.open != nil {
		p.open.data.Abort()
		p.open.locations.Abort()
	}
	if p.rejects != nil {
		_, _ = p.rejects.Close()
	}
	_ = p.put.Wait()
}
