package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/receipt"
)

// display shows how far a run is.
type display interface {
	update(at position)
	// close ends what is shown.
	close()
}

// position is how far a run is: rows of the stage that it is in, and how many it will be if that is known.
type position struct {
	run         string
	state       controlv1.RunState
	rows, total int64
	// committed of several targets have; both are 0 outside of the last stage and of a run with one target.
	committed, targets int
}

// watch follows a run until its final state. It survives restarts of control: only an answer that the run cannot be
// read, or the end of ctx, ends it early.
func watch(ctx context.Context, runs controlv1.RunServiceClient, name string, show display) (*controlv1.Run, error) {
	defer show.close()
	var seen stageRows
	for delay := 200 * time.Millisecond; ; delay = min(2*delay, 5*time.Second) {
		run, err := watchOnce(ctx, runs, name, func(r *controlv1.WatchRunResponse) {
			delay = 200 * time.Millisecond
			show.update(seen.position(r))
		})
		if run != nil {
			return run, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil && !passing(err) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(delay):
		}
	}
}

// watchOnce reads one stream. It returns the run if it has ended.
func watchOnce(ctx context.Context, runs controlv1.RunServiceClient, name string, got func(*controlv1.WatchRunResponse)) (*controlv1.Run, error) {
	stream, err := runs.WatchRun(ctx, &controlv1.WatchRunRequest{Name: name})
	if err != nil {
		return nil, err
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, nil //nolint:nilnil // The stream ended before the run: the caller opens another.
		}
		if err != nil {
			return nil, err
		}
		got(r)
		if ended(r.GetRun().GetRun().GetState()) {
			return r.GetRun(), nil
		}
	}
}

// passing reports whether another stream may get further.
func passing(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Aborted, codes.DeadlineExceeded, codes.Internal, codes.Unknown, codes.ResourceExhausted:
		return true
	}
	return false
}

// stageRows adds up what the tasks of the current stage report.
type stageRows struct {
	stage typev1.Stage
	parts map[int32]*eventv1.Progress
}

func (s *stageRows) position(r *controlv1.WatchRunResponse) position {
	p := position{run: r.GetRun().GetRun().GetRunId(), state: r.GetRun().GetRun().GetState()}
	stage, done := current(r.GetRun())
	if stage != s.stage || s.parts == nil {
		s.stage, s.parts = stage, map[int32]*eventv1.Progress{}
	}
	if progress := r.GetProgress(); progress.GetStage() == stage && progress != nil {
		s.parts[progress.GetPart()] = progress
	}
	if targets := r.GetRun().GetTarget().GetTargets(); stage == typev1.Stage_STAGE_EGRESS && len(targets) > 1 {
		p.targets = len(targets)
		for _, target := range targets {
			if target.GetOutcome() == receipt.Committed {
				p.committed++
			}
		}
	}
	for _, part := range s.parts {
		p.rows += part.GetRows()
		p.total += part.GetTotalRows()
	}
	p.rows = max(p.rows, done.GetRows())
	switch {
	case stage == typev1.Stage_STAGE_TRANSFORM:
		p.total = r.GetRun().GetSource().GetProgress().GetRows()
	case p.total < p.rows:
		p.total = 0
	}
	return p
}

// current returns the stage that a run is in.
func current(run *controlv1.Run) (typev1.Stage, *controlv1.StageProgress) {
	switch run.GetRun().GetState() {
	case controlv1.RunState_RUN_STATE_SYNCING_SOURCE:
		return typev1.Stage_STAGE_INGEST, run.GetSource().GetProgress()
	case controlv1.RunState_RUN_STATE_TRANSFORMING:
		return typev1.Stage_STAGE_TRANSFORM, run.GetTransform().GetProgress()
	case controlv1.RunState_RUN_STATE_SYNCING_TARGET:
		return typev1.Stage_STAGE_EGRESS, run.GetTarget().GetProgress()
	}
	return typev1.Stage_STAGE_UNSPECIFIED, nil
}

// silent shows nothing.
type silent struct{}

func (silent) update(position) {}
func (silent) close()          {}

// lines prints one line per change of state, and one every few seconds in between. It is for logs and pipes.
type lines struct {
	out   io.Writer
	now   func() time.Time
	last  position
	state time.Time // when the state began
	shown time.Time // when a line was printed
}

// lineEvery is how often a state that goes on is printed again.
const lineEvery = 5 * time.Second

func (l *lines) update(at position) {
	now := l.now()
	fresh := at.state != l.last.state
	if fresh {
		l.state = now
	}
	moved := at.rows != l.last.rows && now.Sub(l.shown) >= lineEvery
	if !fresh && !moved && at.committed == l.last.committed {
		return
	}
	l.last, l.shown = at, now
	text := fmt.Sprintf("%s %s", at.run, stateName(at.state))
	if at.rows > 0 {
		text += fmt.Sprintf(" %s rows", count(at.rows))
		if at.total > 0 {
			text += " of " + count(at.total)
		}
		if seconds := now.Sub(l.state).Seconds(); seconds >= 1 {
			text += fmt.Sprintf(" (%s/s)", count(int64(float64(at.rows)/seconds)))
		}
	}
	if at.targets > 0 {
		text += fmt.Sprintf(" %d of %d targets committed", at.committed, at.targets)
	}
	fmt.Fprintln(l.out, text)
}

func (l *lines) close() {}

// bar draws a progress bar per stage on a terminal.
type bar struct {
	out   *os.File
	bar   *progressbar.ProgressBar
	state controlv1.RunState
	total int64
}

func (b *bar) update(at position) {
	if ended(at.state) {
		return
	}
	if b.bar == nil || at.state != b.state {
		b.close()
		b.state, b.total = at.state, at.total
		b.bar = b.draw(at)
	}
	if at.total != b.total && at.total > 0 {
		b.total = at.total
		b.bar.ChangeMax64(at.total)
	}
	// A closed terminal is no reason to stop waiting.
	_ = b.bar.Set64(at.rows)
}

func (b *bar) draw(at position) *progressbar.ProgressBar {
	total := at.total
	if total == 0 {
		total = -1
	}
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(b.out),
		progressbar.OptionSetDescription(fmt.Sprintf("%-15s", stateName(at.state))),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("rows"),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetWidth(30),
		progressbar.OptionSpinnerType(14),
		progressbar.OptionClearOnFinish(),
	)
}

func (b *bar) close() {
	if b.bar != nil {
		_ = b.bar.Clear()
		b.bar = nil
	}
}

func isTerminal(file *os.File) bool { return term.IsTerminal(int(file.Fd())) }
