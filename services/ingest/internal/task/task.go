// Package task does the tasks of stage ingest: it gives a batch its folder and its key, and codes how it ended.
package task

import (
	"context"
	"path"

	"google.golang.org/grpc/codes"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/scrub"
	"github.com/lume-data/lume/internal/worker"
	"github.com/lume-data/lume/services/ingest/internal/stage"
)

// previews is the key below which previews are staged.
const previews = "previews/"

// stager stages a batch; see stage.Stager.
type stager interface {
	Stage(ctx context.Context, b stage.Batch) (*typev1.IngestManifest, error)
}

// workDirs gives out empty folders.
type workDirs interface {
	Make(name string) (dir string, remove func(), err error)
}

// Handler does STAGE tasks.
type Handler struct {
	stager stager
	dirs   workDirs
}

// NewHandler returns a handler.
func NewHandler(stager stager, dirs workDirs) *Handler { return &Handler{stager: stager, dirs: dirs} }

// Handle implements worker.Handler.
func (h *Handler) Handle(ctx context.Context, task *controlv1.Task, report worker.Reporter) (*typev1.Manifest, error) {
	if task.GetKind() != controlv1.TaskKind_TASK_KIND_STAGE {
		return nil, fault.New(codes.Internal, "WRONG_TASK_KIND", "stage ingest does no tasks of kind %s", task.GetKind())
	}
	dir, remove, err := h.dirs.Make(task.GetTaskId())
	if err != nil {
		return nil, err
	}
	defer remove()
	m, err := h.stager.Stage(ctx, stage.Batch{
		Spec: task.GetSpec(), Connectors: task.GetConnectors(), SourcePath: task.GetRun().GetSourcePath(),
		Columns: task.GetSourceColumns(), Prefix: task.GetStagingPrefix(), Dir: dir,
		Progress: func(rows, bytes int64) { report.Progress(rows, 0, bytes) },
	})
	if err != nil {
		return nil, clean(err, task.GetConnectors())
	}
	return &typev1.Manifest{Output: &typev1.Manifest_Ingest{Ingest: m}}, nil
}

// Sampler stages the first records of batches.
type Sampler struct {
	stager stager
	dirs   workDirs
}

// NewSampler returns a sampler.
func NewSampler(stager stager, dirs workDirs) *Sampler { return &Sampler{stager: stager, dirs: dirs} }

// Sample stages the first records of a batch below the preview's key. The batch's folder and key are set here.
func (s *Sampler) Sample(ctx context.Context, previewID string, b stage.Batch) (*typev1.IngestManifest, error) {
	dir, remove, err := s.dirs.Make("preview-" + previewID)
	if err != nil {
		return nil, err
	}
	defer remove()
	b.Dir, b.Prefix = dir, previews+path.Base(previewID)+"/"
	m, err := s.stager.Stage(ctx, b)
	if err != nil {
		return nil, clean(err, b.Connectors)
	}
	return m, nil
}

// clean codes an error, and takes the connectors' secrets out of its cause.
func clean(err error, connectors map[string]*controlv1.ConnectorConfig) error {
	var secrets []string
	for _, c := range connectors {
		for _, value := range c.GetSecrets() {
			secrets = append(secrets, value)
		}
	}
	f := fault.From(err).WithStage(typev1.Stage_STAGE_INGEST)
	return f.WithCause(scrub.New(secrets...).Error(err))
}
