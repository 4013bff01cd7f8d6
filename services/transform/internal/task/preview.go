package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/types/known/structpb"

	transformv1 "github.com/lume-data/lume/gen/lume/transform/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/rejectfile"
	"github.com/lume-data/lume/services/transform/internal/compile"
)

// Previewer maps staged samples and answers with what became of them.
type Previewer struct {
	mapper *Mapper
	store  store
	dirs   workDirs
}

// NewPreviewer returns a previewer.
func NewPreviewer(mapper *Mapper, store store, dirs workDirs) *Previewer {
	return &Previewer{mapper: mapper, store: store, dirs: dirs}
}

// Preview maps all parts of a sample, and closes it if the flow has a batch rule.
func (p *Previewer) Preview(ctx context.Context, req *transformv1.PreviewRequest) (*transformv1.PreviewResponse, error) {
	root, remove, err := p.dirs.Make("preview")
	if err != nil {
		return nil, err
	}
	defer remove()
	s := &sample{previewer: p, root: root, batch: batch{spec: req.GetSpec(), ingest: req.GetIngest(), run: req.GetRun()},
		out: &transformv1.PreviewResponse{Counts: &typev1.RecordCounts{Read: req.GetIngest().GetRecordsRead(), Malformed: req.GetIngest().GetMalformed()}}}
	if err := s.run(ctx); err != nil {
		return nil, fault.From(err).WithStage(typev1.Stage_STAGE_TRANSFORM)
	}
	return s.out, nil
}

// sample is one preview.
type sample struct {
	previewer *Previewer
	root      string
	batch     batch
	out       *transformv1.PreviewResponse
	dirs      []string
	parts     []*typev1.PartManifest
	plan      *compile.Plan
}

func (s *sample) run(ctx context.Context) error {
	if obj := s.batch.ingest.GetRejects(); obj != nil {
		path := filepath.Join(s.root, "malformed.parquet")
		if err := s.previewer.store.Fetch(ctx, obj, path); err != nil {
			return fmt.Errorf("fetch the rejects of ingest: %w", err)
		}
		if err := s.rejects(path); err != nil {
			return err
		}
	}
	for i, part := range s.batch.ingest.GetParts() {
		if err := s.part(ctx, int32(i), part); err != nil {
			return err
		}
	}
	if s.plan == nil {
		return nil
	}
	drops, err := s.close(ctx)
	if err != nil {
		return err
	}
	s.out.Columns = s.plan.TargetColumns()
	for _, dir := range s.dirs {
		if err := s.rows(ctx, dir, drops); err != nil {
			return err
		}
	}
	return nil
}

// part maps one part in its own folder.
func (s *sample) part(ctx context.Context, i int32, part *typev1.StagedPart) error {
	dir := filepath.Join(s.root, fmt.Sprintf("part-%05d", i))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	o, err := s.previewer.mapper.mapPart(ctx, s.batch, part, dir)
	if err != nil {
		return err
	}
	s.plan = o.plan
	s.dirs = append(s.dirs, dir)
	c := s.out.Counts
	c.Filtered += o.counts.GetFiltered()
	c.Rejected += o.counts.GetRejected()
	c.Mapped += o.counts.GetMapped()
	c.RowsToWrite += o.counts.GetRowsToWrite()
	s.warn(o.warnings)
	manifest := &typev1.PartManifest{Part: i, Counts: o.counts}
	if o.plan.Batch() && o.counts.GetRowsToWrite() > 0 {
		manifest.Keys = &typev1.StagedObject{Key: filepath.Join(dir, compile.KeysFile)}
	}
	s.parts = append(s.parts, manifest)
	if o.rejects == 0 {
		return nil
	}
	return s.rejects(filepath.Join(dir, compile.RejectsFile))
}

func (s *sample) warn(warnings map[string]int64) {
	for name, n := range warnings {
		if s.out.Warnings == nil {
			s.out.Warnings = map[string]int64{}
		}
		s.out.Warnings[name] += n
	}
}

// close closes the sample and returns the file of dropped rows, empty if there are none.
func (s *sample) close(ctx context.Context) (drops string, err error) {
	if !s.plan.Batch() {
		return "", nil
	}
	dir := filepath.Join(s.root, "closing")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	m := *s.previewer.mapper
	m.store = local{s.previewer.store}
	c, err := m.closeBatch(ctx, s.batch, s.parts, dir)
	if err != nil {
		return "", err
	}
	counts := s.out.Counts
	counts.Rejected += c.rejected
	counts.Deduplicated = c.deduplicated
	counts.Mapped -= c.rejected + c.deduplicated
	counts.RowsToWrite -= c.dropped
	s.warn(c.warnings)
	if c.rejected > 0 {
		if err := s.rejects(filepath.Join(dir, compile.RejectsFile)); err != nil {
			return "", err
		}
	}
	if c.dropped == 0 {
		return "", nil
	}
	return filepath.Join(dir, compile.DropsFile), nil
}

// local is a store whose keys files of a preview were never staged: their keys are paths.
type local struct{ store }

// Fetch implements store.
func (l local) Fetch(ctx context.Context, obj *typev1.StagedObject, path string) error {
	if filepath.IsAbs(obj.GetKey()) {
		return os.Link(obj.GetKey(), path)
	}
	return l.store.Fetch(ctx, obj, path)
}

// rejects appends the rejects of a file.
func (s *sample) rejects(path string) error {
	r, err := rejectfile.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		reject, err := record.Proto(s.batch.run.GetRunId())
		if err != nil {
			return err
		}
		s.out.Rejects = append(s.out.Rejects, reject)
	}
}

// rows appends the mapped rows of a part as text.
func (s *sample) rows(ctx context.Context, dir, drops string) error {
	if drops != "" {
		if err := os.Link(drops, filepath.Join(dir, compile.DropsFile)); err != nil {
			return err
		}
	}
	step := s.plan.ShowRows(drops != "")
	results, err := s.previewer.mapper.job(ctx, s.batch, dir, []engine.Step{step})
	if err != nil {
		return err
	}
	for _, row := range results[step.Name].Rows {
		values := make([]*structpb.Value, len(row))
		for i, v := range row {
			values[i] = structpb.NewNullValue()
			if v != nil {
				values[i] = structpb.NewStringValue(*v)
			}
		}
		s.out.Rows = append(s.out.Rows, &structpb.ListValue{Values: values})
	}
	return nil
}
