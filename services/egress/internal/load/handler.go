package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/budget"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/internal/worker"
)

// Reasons of failed loads.
const (
	// ReasonAborted is the reason of a load that met an `aborted` marker.
	ReasonAborted = "ABORTED"
	// ReasonTooManyRefused is the reason of a load of which the target refuses more rows than can be searched for.
	ReasonTooManyRefused = "TOO_MANY_REFUSED_ROWS"
	// ReasonAllRejected is the reason of a load of which the target refuses every row.
	ReasonAllRejected = "ALL_ROWS_REJECTED"
)

// maxRounds bounds how often a load begins again because of rows that go with refused ones. Each round leaves out more.
const maxRounds = 1000

// WorkDirs makes a private folder for the local files of a task, and returns the function that removes it.
type WorkDirs interface {
	Make(name string) (dir string, remove func(), err error)
}

// Config of a handler.
type Config struct {
	Registry *connector.Registry
	Env      connector.Env
	Store    *staging.Store
	WorkDirs WorkDirs
	// Memory is what one task may hold of its rows, in bytes.
	Memory int64
	// Now is the time of receipts; default time.Now.
	Now func() time.Time
}

// Handler does LOAD and SETTLE tasks. It is safe for concurrent use.
type Handler struct{ cfg Config }

// NewHandler returns a handler.
func NewHandler(cfg Config) *Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Handler{cfg: cfg}
}

var _ worker.Handler = (*Handler)(nil)

// Handle implements worker.Handler.
func (h *Handler) Handle(ctx context.Context, task *controlv1.Task, report worker.Reporter) (*typev1.Manifest, error) {
	target := receipt.Target(task.GetSpec(), task.GetPart())
	if target == nil {
		return nil, fault.New(codes.InvalidArgument, "TARGET_NOT_FOUND", "the flow has no target %d", task.GetPart())
	}
	spec, err := TargetSpec(task.GetSpec(), target)
	if err != nil {
		return nil, err
	}
	link, scrubber, err := Open(ctx, h.cfg.Registry, h.cfg.Env, task.GetConnectors()[target.GetConnector()])
	if err != nil {
		return nil, scrubber.Error(err)
	}
	defer link.Close() // What counts was committed or rolled back before.
	var manifest *typev1.LoadManifest
	switch task.GetKind() {
	case controlv1.TaskKind_TASK_KIND_LOAD:
		manifest, err = h.load(ctx, task, spec, link, report)
	case controlv1.TaskKind_TASK_KIND_SETTLE:
		manifest, err = h.settle(ctx, task, spec, link)
	default:
		err = fault.New(codes.Internal, "UNKNOWN_TASK_KIND", "stage egress has no task of kind %s", task.GetKind())
	}
	if err != nil {
		return nil, scrubbed(scrubber.Error, err)
	}
	return &typev1.Manifest{Output: &typev1.Manifest_Load{Load: manifest}}, nil
}

// partial is an error with what is known of the receipt.
type partial struct {
	error
	receipt string
}

func (p *partial) Unwrap() error { return p.error }

func scrubbed(scrub func(error) error, err error) error {
	var p *partial
	if errors.As(err, &p) {
		return worker.WithReceipt(scrub(p.error), p.receipt)
	}
	return scrub(err)
}

// load does a LOAD task.
func (h *Handler) load(ctx context.Context, task *controlv1.Task, spec connector.TargetSpec, target connector.Target, report worker.Reporter) (*typev1.LoadManifest, error) {
	dir, remove, err := h.cfg.WorkDirs.Make("load-" + task.GetRun().GetRunId())
	if err != nil {
		return nil, err
	}
	defer remove()
	files := newCache(ctx, h.cfg.Store, dir)
	defer files.close()
	j, err := newJob(ctx, job{task: task, spec: spec, store: h.cfg.Store, files: files, dir: dir, memory: h.cfg.Memory, now: h.cfg.Now})
	if err != nil {
		return nil, err
	}
	total := j.mapped.Count()
	for range maxRounds {
		out, err := target.Load(ctx, j.load(func(rows int64) { report.Progress(rows, total, 0) }))
		if errors.Is(err, errSiblings) {
			j.again()
			continue
		}
		if err != nil {
			return nil, j.failed(ctx, err)
		}
		if out.Existing {
			return found(out.Receipt)
		}
		if !out.Committed || j.balancedWith == nil {
			return nil, fmt.Errorf("the target %s ended without a commit and without an error", spec.Name)
		}
		report.Progress(total, total, 0)
		return &typev1.LoadManifest{ReceiptJson: string(out.Receipt), Rejects: j.staged}, nil
	}
	return nil, fmt.Errorf("a load began %d times because of rows that go with refused ones", maxRounds)
}

// again begins a round without the rows refused so far.
func (j *job) again() {
	j.leaveOut(j.refused.sorted())
	j.round++
	j.finished, j.refusedPath, j.staged = false, "", nil
}

// found is the manifest of a load that an earlier attempt has committed.
func found(receiptJSON []byte) (*typev1.LoadManifest, error) {
	r := &typev1.Receipt{}
	// Another release may have written it.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(receiptJSON, r); err != nil {
		return nil, fault.New(codes.FailedPrecondition, "MARKER_BROKEN", "the run's marker in the target holds no receipt").
			WithNext("restore the marker: it must not be changed by hand").WithCause(err)
	}
	manifest := &typev1.LoadManifest{ReceiptJson: string(receiptJSON)}
	if len(r.GetTargets()) > 0 {
		manifest.Rejects = r.GetTargets()[0].GetStagedRejects()
	}
	return manifest, nil
}

// failed codes the error of a load. Of errors that leave the target untouched for certain it says so, and stages what the
// target has refused until then.
func (j *job) failed(ctx context.Context, err error) error {
	var imbalance *receipt.Imbalance
	var coded *fault.Error
	switch {
	case errors.Is(err, connector.ErrAborted):
		err = fault.New(codes.FailedPrecondition, ReasonAborted, "the run was aborted in its target").WithCause(err).
			WithNext("look at the run: its error says why it was stopped")
	case errors.Is(err, connector.ErrTooManyProbes):
		err = fault.New(codes.FailedPrecondition, ReasonTooManyRefused, "the target refuses so many rows that they cannot be told from the others").
			WithCause(err).WithNext("look at the rejects of the run, and add rules to the flow that keep such rows from the target")
	case errors.As(err, &imbalance):
	case errors.As(err, &coded) && (coded.Reason == budget.Reason || coded.Reason == ReasonAllRejected):
	default:
		return err
	}
	r := receipt.Build(j.task)
	t := r.GetTargets()[0]
	t.Outcome = receipt.Aborted
	if stageErr := j.stage(ctx); stageErr == nil {
		t.StagedRejects = j.staged
	}
	text, marshalErr := protojson.Marshal(r)
	if marshalErr != nil {
		return err
	}
	return &partial{error: err, receipt: string(text)}
}

// settle does a SETTLE task.
func (h *Handler) settle(ctx context.Context, task *controlv1.Task, spec connector.TargetSpec, target connector.Target) (*typev1.LoadManifest, error) {
	out, err := target.Settle(ctx, connector.Settlement{
		RunID: task.GetRun().GetRunId(), FlowVersion: task.GetRun().GetFlowVersion(), Fence: task.GetFence(), Target: spec,
	})
	if err != nil {
		return nil, err
	}
	if out.Committed {
		return found(out.Receipt)
	}
	r := receipt.Build(task)
	r.GetTargets()[0].Outcome = receipt.Aborted
	text, err := protojson.Marshal(r)
	if err != nil {
		return nil, err
	}
	return &typev1.LoadManifest{ReceiptJson: string(text)}, nil
}
