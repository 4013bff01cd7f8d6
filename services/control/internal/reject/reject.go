// Package reject reads the rejects of a run from its reject files in staging, a page at a time.
package reject

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/internal/rejectfile"
	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/services/control/internal/store"
)

// ErrSwept says that the rejects of the run were deleted from staging: they are only in its target.
var ErrSwept = errors.New("reject: swept")

// maxBytes bounds a page.
const maxBytes = 3 << 20

// files is what is needed of the staging store.
type files interface {
	Fetch(ctx context.Context, obj *typev1.StagedObject, localPath string) error
}

// Service lists rejects.
type Service struct {
	db    store.Reader
	cache *cache
}

// NewService makes a service that keeps files it has fetched in a folder of its own below dir (empty: the system's).
// Close it.
func NewService(db store.Reader, files files, dir string) (*Service, error) {
	c, err := newCache(files, dir)
	if err != nil {
		return nil, err
	}
	return &Service{db: db, cache: c}, nil
}

// Close deletes the folder.
func (s *Service) Close() error { return s.cache.close() }

// Cursor is where a page begins.
type Cursor struct {
	// Stage is 1 to 3, as typev1.Stage; 0 begins with the first.
	Stage int32 `json:"s"`
	// File is the index of the stage's reject file, Offset of the record in it.
	File   int   `json:"f"`
	Offset int64 `json:"o"`
	// Closing is the offset in the file of the closing task, whose records are merged in.
	Closing int64 `json:"c"`
}

// List returns up to limit rejects from the cursor on, in the order of stages and then as delivered, of one stage unless
// it is unspecified. A page is also cut by size. next is nil at the end. store.ErrNotFound if there is no such run,
// ErrSwept if its rejects are gone.
func (s *Service) List(ctx context.Context, runID string, stage typev1.Stage, at Cursor, limit int) (rejects []*typev1.Reject, next *Cursor, err error) {
	r, err := s.db.Run(ctx, runID)
	if err != nil {
		return nil, nil, err
	}
	if !r.RejectsSweptTime.IsZero() {
		return nil, nil, ErrSwept
	}
	tasks, err := s.db.Tasks(ctx, runID)
	if err != nil {
		return nil, nil, err
	}
	version, err := s.db.Version(ctx, r.Flow, r.Version)
	if err != nil {
		return nil, nil, err
	}
	p := &page{runID: runID, limit: limit}
	for st := typev1.Stage_STAGE_INGEST; st <= typev1.Stage_STAGE_EGRESS; st++ {
		if (stage != typev1.Stage_STAGE_UNSPECIFIED && st != stage) || int32(st) < at.Stage {
			continue
		}
		from := Cursor{Stage: int32(st)}
		if at.Stage == int32(st) {
			from = at
			from.File = max(from.File, 0)
		}
		next, err := s.stage(ctx, p, filesOf(tasks, st, version.Spec), from)
		if errors.Is(err, staging.ErrNotFound) {
			return nil, nil, errors.Join(ErrSwept, err)
		}
		if err != nil || next != nil {
			return p.rejects, next, err
		}
	}
	return p.rejects, nil, nil
}

// stageFiles are the reject files of a stage.
type stageFiles struct {
	// main follow each other in delivered order; those of stage egress by target.
	main []*typev1.StagedObject
	// targets are the names of the targets that refused what stands in main; empty for other stages.
	targets []string
	// closing holds records from anywhere in the batch; nil if there is none.
	closing *typev1.StagedObject
}

func filesOf(tasks []store.Task, stage typev1.Stage, spec *flowv1.Flow) stageFiles {
	var f stageFiles
	refused := map[int32]*typev1.StagedObject{}
	for _, t := range tasks {
		if t.Kind.Stage() != stage {
			continue
		}
		m := t.Manifest
		for _, o := range []*typev1.StagedObject{m.GetIngest().GetRejects(), m.GetPart().GetRejects()} {
			if o != nil {
				f.main = append(f.main, o)
			}
		}
		if o := m.GetClosing().GetRejects(); o != nil {
			f.closing = o
		}
		// Of a load that failed and a settlement that found one committed, the settlement is right.
		if o := m.GetLoad().GetRejects(); o != nil {
			refused[t.Part] = o
		}
	}
	for i, t := range receipt.Targets(spec) {
		if o := refused[int32(i)]; o != nil {
			f.main, f.targets = append(f.main, o), append(f.targets, t.GetName())
		}
	}
	return f
}

// stage adds the rejects of one stage to the page and returns where the next page begins; nil if the stage has no more.
func (s *Service) stage(ctx context.Context, p *page, f stageFiles, at Cursor) (_ *Cursor, err error) {
	closing := &stream{cache: s.cache}
	defer func() { err = errors.Join(err, closing.close()) }()
	if f.closing != nil {
		if err := closing.open(ctx, f.closing, at.Closing); err != nil {
			return nil, err
		}
	}
	for ; at.File <= len(f.main); at.File, at.Offset = at.File+1, 0 {
		p.target = ""
		if at.File < len(f.targets) {
			p.target = f.targets[at.File]
		}
		full, err := s.file(ctx, p, f.main, closing, &at)
		if err != nil {
			return nil, err
		}
		if full {
			return &at, nil
		}
	}
	return nil, nil
}

// file adds the records of one main file, and those of closing that come before its end. After the last main file come
// all that are left. full tells that the page ends before the stage does.
func (s *Service) file(ctx context.Context, p *page, main []*typev1.StagedObject, closing *stream, at *Cursor) (full bool, err error) {
	current := &stream{cache: s.cache}
	defer func() { err = errors.Join(err, current.close()) }()
	if at.File < len(main) {
		if err := current.open(ctx, main[at.File], at.Offset); err != nil {
			return false, err
		}
	}
	for {
		a, b := current.record, closing.record
		var from *stream
		switch {
		case a == nil && (b == nil || at.File < len(main)):
			return false, nil
		case a == nil || (b != nil && before(b, a)):
			from = closing
		default:
			from = current
		}
		added, err := p.add(*from.record)
		if err != nil {
			return false, err
		}
		if !added {
			return true, nil
		}
		if from == closing {
			at.Closing++
		} else {
			at.Offset++
		}
		if err := from.next(); err != nil {
			return false, err
		}
	}
}

// before tells whether a comes before b in the batch.
func before(a, b *rejectfile.Record) bool {
	return a.Row != nil && b.Row != nil && *a.Row < *b.Row
}

// page collects rejects.
type page struct {
	runID   string
	target  string
	limit   int
	rejects []*typev1.Reject
	bytes   int
}

// add returns false if the page is full. The first record is always added, or there would be no way past it.
func (p *page) add(rec rejectfile.Record) (bool, error) {
	if len(p.rejects) >= p.limit {
		return false, nil
	}
	r, err := rec.Proto(p.runID)
	if err != nil {
		return false, fmt.Errorf("read reject of run %s: %w", p.runID, err)
	}
	r.Target = p.target
	size := proto.Size(r)
	if len(p.rejects) > 0 && p.bytes+size > maxBytes {
		return false, nil
	}
	p.rejects = append(p.rejects, r)
	p.bytes += size
	return true, nil
}

// stream reads one reject file and knows its next record. The zero stream is empty.
type stream struct {
	cache   *cache
	file    *rejectfile.Reader
	release func()
	record  *rejectfile.Record
}

func (s *stream) open(ctx context.Context, obj *typev1.StagedObject, offset int64) error {
	path, release, err := s.cache.get(ctx, obj)
	if err != nil {
		return err
	}
	s.release = release
	if s.file, err = rejectfile.Open(path); err != nil {
		return fmt.Errorf("open reject file %s: %w", obj.GetKey(), err)
	}
	if err := s.file.Skip(min(max(offset, 0), s.file.Rows())); err != nil {
		return fmt.Errorf("read reject file %s: %w", obj.GetKey(), err)
	}
	return s.next()
}

func (s *stream) next() error {
	rec, err := s.file.Next()
	if errors.Is(err, io.EOF) {
		s.record = nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("read reject file: %w", err)
	}
	s.record = &rec
	return nil
}

func (s *stream) close() error {
	var err error
	if s.file != nil {
		err = s.file.Close()
	}
	if s.release != nil {
		s.release()
	}
	return err
}
