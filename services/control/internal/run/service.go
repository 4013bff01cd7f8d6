package run

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lume-data/lume/connector"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Defaults of flowv1.Limits.
const (
	defaultDeadline         = 6 * time.Hour
	defaultMaxParallelTasks = 4
	defaultMaxAttempts      = 4
)

// Service creates, reads, cancels and watches runs.
type Service struct {
	db    store.Store
	hub   *hub
	paths sourcePaths
}

// NewService makes a service on a database. The specs say how source paths of connectors are written. Close it before the database.
func NewService(db store.Store, specs ...connector.Spec) *Service {
	return &Service{db: db, hub: newHub(db), paths: specs}
}

// Close ends what the service does besides its calls.
func (s *Service) Close() { s.hub.close() }

// Request asks for a run.
type Request struct {
	// FlowVersion is `flow:vN` or `flow:alias`.
	FlowVersion string
	SourcePath  string
	// Metadata is the caller's run_metadata as JSON; nil if none.
	Metadata []byte
	// ForceRerun permits a run although one of the same version and source path has committed.
	ForceRerun bool
	// RequestID makes a retry safe; empty if the caller gave none.
	RequestID string
	// TraceParent is the W3C trace context of the request.
	TraceParent string
}

// Create makes a run and wakes a worker for it. A known request id answers with its run. Errors: ErrFlowVersion,
// ErrSourcePath, ErrDuplicate, ErrRequestReused, and store.ErrNotFound (a [store.MissingError]) for a flow, version, alias or connector
// that does not exist.
func (s *Service) Create(ctx context.Context, req Request) (store.Run, error) {
	var created store.Run
	err := s.db.Update(ctx, func(tx store.Tx) error {
		r, err := s.create(ctx, tx, req)
		created = r
		return err
	})
	if err != nil {
		return store.Run{}, err
	}
	return created, nil
}

func (s *Service) create(ctx context.Context, tx store.Tx, req Request) (store.Run, error) {
	flow, name, err := parseFlowVersion(req.FlowVersion)
	if err != nil {
		return store.Run{}, err
	}
	if req.RequestID != "" {
		if err := tx.Lock(ctx, "request "+req.RequestID); err != nil {
			return store.Run{}, err
		}
		known, err := tx.RunByRequest(ctx, req.RequestID)
		switch {
		case err == nil:
			return known, s.requireSame(ctx, tx, known, flow, req.SourcePath)
		case !errors.Is(err, store.ErrNotFound):
			return store.Run{}, err
		}
	}
	version, err := resolve(ctx, tx, flow, name)
	if err != nil {
		return store.Run{}, err
	}
	if req.SourcePath, err = s.paths.canonical(ctx, tx, version, req.SourcePath); err != nil {
		return store.Run{}, err
	}
	pair := store.Pair{Flow: flow, Version: version.Number, SourcePath: req.SourcePath}
	if err := refuseDuplicate(ctx, tx, pair, req.ForceRerun); err != nil {
		return store.Run{}, err
	}
	if err := tx.RequireConnectors(ctx, version.Connectors); err != nil {
		return store.Run{}, err
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return store.Run{}, err
	}
	r, err := tx.CreateRun(ctx, newRun(version, req, now))
	if err != nil {
		return store.Run{}, err
	}
	c := &Change{Run: r, Now: now, tx: tx}
	if err := c.tell(stateEvent(r.State), 0); err != nil {
		return store.Run{}, err
	}
	if err := c.AddTasks(ctx, NewTask(r, store.TaskStage, 0)); err != nil {
		return store.Run{}, err
	}
	return r, c.Save(ctx)
}

// requireSame checks that a run is of the flow and the batch that a later request with its id asks for.
func (s *Service) requireSame(ctx context.Context, tx store.Tx, known store.Run, flow, sourcePath string) error {
	reused := &RequestReusedError{RunID: known.ID}
	if known.Flow != flow {
		return reused
	}
	if known.SourcePath == sourcePath {
		return nil
	}
	version, err := tx.Version(ctx, known.Flow, known.Version)
	if err != nil {
		return err
	}
	if path, err := s.paths.canonical(ctx, tx, version, sourcePath); err != nil || path != known.SourcePath {
		return reused
	}
	return nil
}

// refuseDuplicate holds a lock on the pair until the transaction ends, so that what it finds stays true.
func refuseDuplicate(ctx context.Context, tx store.Tx, pair store.Pair, force bool) error {
	if err := lockPair(ctx, tx, pair); err != nil {
		return err
	}
	other, err := tx.BlockingRun(ctx, pair)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if force && !other.Open() {
		return nil
	}
	return duplicate(other)
}

func lockPair(ctx context.Context, tx store.Tx, pair store.Pair) error {
	return tx.Lock(ctx, fmt.Sprintf("pair %s:v%d %s", pair.Flow, pair.Version, pair.SourcePath))
}

func pairOf(r store.Run) store.Pair {
	return store.Pair{Flow: r.Flow, Version: r.Version, SourcePath: r.SourcePath}
}

func duplicate(of store.Run) error {
	return &DuplicateError{RunID: of.ID, State: of.State, Outcome: of.Outcome}
}

func newRun(v store.Version, req Request, now time.Time) store.Run {
	limits := v.Spec.GetLimits()
	return store.Run{
		ID:               "run_" + ulid.Make().String(),
		Flow:             v.Flow,
		Version:          v.Number,
		VersionDigest:    v.Digest,
		SourcePath:       req.SourcePath,
		Metadata:         req.Metadata,
		RequestID:        req.RequestID,
		State:            store.RunCreated,
		MaxParallelTasks: maxParallelTasks(limits),
		MaxAttempts:      maxAttempts(limits),
		TraceParent:      req.TraceParent,
		Deadline:         now.Add(deadlineOf(limits)),
	}
}

func deadlineOf(l *flowv1.Limits) time.Duration {
	if l == nil || l.DeadlineSeconds == nil {
		return defaultDeadline
	}
	return time.Duration(l.GetDeadlineSeconds()) * time.Second
}

func maxParallelTasks(l *flowv1.Limits) int32 {
	if l == nil || l.MaxParallelTasks == nil {
		return defaultMaxParallelTasks
	}
	return l.GetMaxParallelTasks()
}

func maxAttempts(l *flowv1.Limits) int32 {
	if l == nil || l.MaxAttempts == nil {
		return defaultMaxAttempts
	}
	return l.GetMaxAttempts()
}

var (
	flowVersion   = regexp.MustCompile(`^([a-z][a-z0-9_-]{0,62}):([a-z][a-z0-9_-]{0,62})$`)
	versionNumber = regexp.MustCompile(`^v([1-9][0-9]{0,8})$`)
)

func parseFlowVersion(text string) (flow, name string, err error) {
	m := flowVersion.FindStringSubmatch(text)
	if m == nil {
		return "", "", ErrFlowVersion
	}
	return m[1], m[2], nil
}

// resolve finds the version that a name means: `v` + digits is a number, anything else an alias.
func resolve(ctx context.Context, r store.Reader, flow, name string) (store.Version, error) {
	kind := "version"
	v, err := func() (store.Version, error) {
		if m := versionNumber.FindStringSubmatch(name); m != nil {
			n, err := strconv.ParseInt(m[1], 10, 32)
			if err != nil {
				return store.Version{}, err
			}
			return r.Version(ctx, flow, int32(n))
		}
		kind = "alias"
		a, err := r.Alias(ctx, flow, name)
		if err != nil {
			return store.Version{}, err
		}
		return r.Version(ctx, flow, a.Version)
	}()
	if errors.Is(err, store.ErrNotFound) {
		return v, &store.MissingError{Kind: kind, Name: flow + ":" + name}
	}
	return v, err
}

// Get returns a run, or store.ErrNotFound.
func (s *Service) Get(ctx context.Context, id string) (View, error) {
	r, err := s.db.Run(ctx, id)
	if err != nil {
		return View{}, err
	}
	stages, err := s.db.StageSummaries(ctx, []string{id})
	if err != nil {
		return View{}, err
	}
	targets, err := s.db.TargetSummaries(ctx, []string{id})
	if err != nil {
		return View{}, err
	}
	return View{Run: r, Stages: stages[id], Targets: targets[id]}, nil
}

// View is a run and how far its stages and targets are.
type View struct {
	store.Run
	// Stages are those that have tasks, in order.
	Stages []store.StageSummary
	// Targets in the order of the flow; none before stage egress begins.
	Targets []store.TargetSummary
}

// List lists runs, newest first.
func (s *Service) List(ctx context.Context, filter store.RunFilter, page store.Page) (views []View, next string, err error) {
	runs, next, err := s.db.ListRuns(ctx, filter, page)
	if err != nil {
		return nil, "", err
	}
	ids := make([]string, len(runs))
	for i, r := range runs {
		ids[i] = r.ID
	}
	stages, err := s.db.StageSummaries(ctx, ids)
	if err != nil {
		return nil, "", err
	}
	targets, err := s.db.TargetSummaries(ctx, ids)
	if err != nil {
		return nil, "", err
	}
	views = make([]View, len(runs))
	for i, r := range runs {
		views[i] = View{Run: r, Stages: stages[r.ID], Targets: targets[r.ID]}
	}
	return views, next, nil
}

// Cancel asks a run to stop and returns it as it is then: FAILED, or still SYNCING_TARGET while a target is settled.
// ErrEnded if it has ended, store.ErrNotFound if there is none. A second cancel changes nothing.
func (s *Service) Cancel(ctx context.Context, id string) (View, error) {
	if err := s.change(ctx, id, func(c *Change) error { return c.Cancel(ctx) }); err != nil {
		return View{}, err
	}
	return s.Get(ctx, id)
}

// Overdue stops a run that is out of time.
func (s *Service) Overdue(ctx context.Context, id string) error {
	return s.change(ctx, id, func(c *Change) error { return c.Overdue(ctx) })
}

// change locks a run, lets fn change it, and saves it.
func (s *Service) change(ctx context.Context, id string, fn func(*Change) error) error {
	return s.db.Update(ctx, func(tx store.Tx) error {
		c, err := Lock(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := fn(c); err != nil {
			return err
		}
		return c.Save(ctx)
	})
}
