package task

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/worker"
	"github.com/lume-data/lume/services/transform/internal/compile"
)

// workDirs gives out empty folders.
type workDirs interface {
	Make(name string) (dir string, remove func(), err error)
}

// Handler does MAP and CLOSE tasks.
type Handler struct {
	mapper *Mapper
	store  store
	dirs   workDirs
}

// NewHandler returns a handler.
func NewHandler(mapper *Mapper, store store, dirs workDirs) *Handler {
	return &Handler{mapper: mapper, store: store, dirs: dirs}
}

// Handle implements worker.Handler.
func (h *Handler) Handle(ctx context.Context, task *controlv1.Task, report worker.Reporter) (*typev1.Manifest, error) {
	dir, remove, err := h.dirs.Make(task.GetTaskId())
	if err != nil {
		return nil, err
	}
	defer remove()
	var m *typev1.Manifest
	switch task.GetKind() {
	case controlv1.TaskKind_TASK_KIND_MAP:
		m, err = h.mapPart(ctx, task, dir, report)
	case controlv1.TaskKind_TASK_KIND_CLOSE:
		m, err = h.close(ctx, task, dir, report)
	default:
		err = fault.New(codes.Internal, "WRONG_TASK_KIND", "stage transform does no tasks of kind %s", task.GetKind())
	}
	if err != nil {
		return nil, fault.From(err).WithStage(typev1.Stage_STAGE_TRANSFORM)
	}
	return m, nil
}

func batchOf(task *controlv1.Task) batch {
	return batch{spec: task.GetSpec(), ingest: task.GetIngest(), run: task.GetRun()}
}

// mapPart does a MAP task.
func (h *Handler) mapPart(ctx context.Context, task *controlv1.Task, dir string, report worker.Reporter) (*typev1.Manifest, error) {
	parts := task.GetIngest().GetParts()
	if len(parts) != 1 {
		return nil, fault.New(codes.Internal, "WRONG_TASK", "a task to map one part has %d", len(parts))
	}
	rows := parts[0].GetData().GetRows()
	report.Progress(0, rows, 0)
	o, err := h.mapper.mapPart(ctx, batchOf(task), parts[0], dir)
	if err != nil {
		return nil, err
	}
	report.Progress(rows, rows, 0)
	m := &typev1.PartManifest{Part: task.GetPart(), Counts: o.counts, Warnings: o.warnings, Digest: o.digest, Engine: compile.Engine()}
	name := fmt.Sprintf("%spart-%05d", task.GetStagingPrefix(), task.GetPart())
	if m.Mapped, err = put(ctx, h.store, dir, compile.MappedFile, name+".mapped.parquet", o.counts.GetRowsToWrite()); err != nil {
		return nil, err
	}
	if m.Rejects, err = put(ctx, h.store, dir, compile.RejectsFile, name+".rejects.parquet", o.rejects); err != nil {
		return nil, err
	}
	if o.plan.Batch() {
		if m.Keys, err = put(ctx, h.store, dir, compile.KeysFile, name+".keys.parquet", o.counts.GetRowsToWrite()); err != nil {
			return nil, err
		}
	}
	return &typev1.Manifest{Output: &typev1.Manifest_Part{Part: m}}, nil
}

// close does a CLOSE task.
func (h *Handler) close(ctx context.Context, task *controlv1.Task, dir string, report worker.Reporter) (*typev1.Manifest, error) {
	var rows int64
	for _, p := range task.GetParts() {
		rows += p.GetCounts().GetRowsToWrite()
	}
	report.Progress(0, rows, 0)
	c, err := h.mapper.closeBatch(ctx, batchOf(task), task.GetParts(), dir)
	if err != nil {
		return nil, err
	}
	report.Progress(rows, rows, 0)
	m := &typev1.ClosingManifest{Rejected: c.rejected, Deduplicated: c.deduplicated, DroppedRows: c.dropped, Digest: c.digest, Warnings: c.warnings}
	if m.Drops, err = put(ctx, h.store, dir, compile.DropsFile, task.GetStagingPrefix()+"drops.parquet", c.dropped); err != nil {
		return nil, err
	}
	if m.Rejects, err = put(ctx, h.store, dir, compile.RejectsFile, task.GetStagingPrefix()+"rejects.parquet", c.rejected); err != nil {
		return nil, err
	}
	return &typev1.Manifest{Output: &typev1.Manifest_Closing{Closing: m}}, nil
}

// engineRow makes a result of one row.
func engineRow(row []*string) engine.StepResult { return engine.StepResult{Rows: [][]*string{row}} }
