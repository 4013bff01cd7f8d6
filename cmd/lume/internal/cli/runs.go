package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/receipt"
)

func (a *app) runs() *cobra.Command {
	c := noun("runs", "Executions of versions on batches",
		a.run(), a.runsGet(), a.runsList(), a.runsWatch(), a.runsCancel(), a.runsResume(), a.runsRejects())
	return c
}

func (a *app) runsGet() *cobra.Command {
	return &cobra.Command{
		Use: "get RUN", Short: "Show a run with its receipt or error", Args: cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			got, err := c.runs.GetRun(ctx, &controlv1.GetRunRequest{Name: runName(args[0])})
			if err != nil {
				return err
			}
			return a.print(got, formatTable, func(t *table) { receiptTable(t, got) })
		}),
	}
}

// runFilter holds the flags of `runs list`.
type runFilter struct {
	flow, version, sourcePath, since, until string
	states                                  []string
}

func (a *app) runsList() *cobra.Command {
	var (
		limit  int
		filter runFilter
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, newest first",
		Example: `  lume runs list --flow invoice_cleaner --state failed,crashed --since 24h
  lume runs list --source-path s3://invoices/batch-001.csv`,
		Args: cobra.NoArgs,
		RunE: a.online(func(ctx context.Context, c *client, _ []string) error {
			req, err := filter.request(time.Now())
			if err != nil {
				return err
			}
			items, more, err := collect(limit, func(size int32, token string) ([]*controlv1.Run, string, error) {
				req.PageSize, req.PageToken = size, token
				r, err := c.runs.ListRuns(ctx, req)
				return r.GetRuns(), r.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			defer a.noteMore(more, len(items))
			return printAll(a, &controlv1.ListRunsResponse{Runs: items}, items, func(t *table) { runTable(t, items) })
		}),
	}
	f := cmd.Flags()
	f.StringVar(&filter.flow, "flow", "", "only runs of this `flow`")
	f.StringVar(&filter.version, "flow-version", "", "only runs of this `flow:vN`")
	f.StringSliceVar(&filter.states, "state", nil, "only runs in these `states`, for example failed,crashed")
	f.StringVar(&filter.since, "since", "", "only runs created since this `time`: RFC 3339, a date, or a duration such as 24h")
	f.StringVar(&filter.until, "until", "", "only runs created before this `time`")
	f.StringVar(&filter.sourcePath, "source-path", "", "only runs of exactly this `batch`")
	limitFlag(cmd, &limit)
	return cmd
}

func (f runFilter) request(now time.Time) (*controlv1.ListRunsRequest, error) {
	req := &controlv1.ListRunsRequest{Flow: f.flow, FlowVersion: f.version, SourcePath: f.sourcePath}
	for _, s := range f.states {
		name := strings.ToUpper(strings.ReplaceAll(s, "-", "_"))
		state, ok := controlv1.RunState_value["RUN_STATE_"+name]
		if !ok || state == 0 {
			return nil, problemf("use created, syncing_source, transforming, syncing_target, succeeded, partial_failed, failed or crashed",
				"there is no state %s", s)
		}
		req.States = append(req.States, controlv1.RunState(state))
	}
	var err error
	if req.CreatedAfter, err = parseTime(f.since, now); err != nil {
		return nil, err
	}
	req.CreatedBefore, err = parseTime(f.until, now)
	return req, err
}

// parseTime reads a time, a UTC date, or how long ago; empty is none.
func parseTime(text string, now time.Time) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // No time is no filter.
	}
	if d, err := time.ParseDuration(text); err == nil {
		return timestamppb.New(now.Add(-d)), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return timestamppb.New(t), nil
		}
	}
	return nil, problemf("write 2006-01-02T15:04:05Z, 2006-01-02, or how long ago, for example 24h", "%s is not a time", text)
}

func runTable(t *table, runs []*controlv1.Run) {
	t.row("RUN", "VERSION", "STATE", "CREATED", "READ", "WRITTEN", "REJECTED", "TARGETS", "SOURCE PATH")
	for _, r := range runs {
		info, counts := r.GetRun(), r.GetReceipt().GetCounts()
		read, written, rejected := "", "", ""
		if counts != nil {
			var refused, loaded int64
			for _, target := range r.GetReceipt().GetTargets() {
				refused += target.GetRefused()
				loaded += target.GetWritten()
			}
			read, written = count(counts.GetRead()), count(loaded)
			rejected = count(counts.GetMalformed() + counts.GetRejected() + refused)
		}
		t.row(info.GetRunId(), info.GetFlowVersion(), stateName(info.GetState()), info.GetCreateTime(), read, written, rejected,
			committedTargets(r), info.GetSourcePath())
	}
}

// committedTargets says how many of a run's targets have committed.
func committedTargets(r *controlv1.Run) string {
	n := 0
	for _, target := range r.GetTarget().GetTargets() {
		if target.GetOutcome() == receipt.Committed {
			n++
		}
	}
	return fmt.Sprintf("%d/%d", n, len(r.GetTarget().GetTargets()))
}

func (a *app) runsCancel() *cobra.Command {
	return &cobra.Command{
		Use: "cancel RUN", Short: "Ask a run to stop; what a load has committed stays", Args: cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			got, err := c.runs.CancelRun(ctx, &controlv1.CancelRunRequest{Name: runName(args[0])})
			if err != nil {
				return err
			}
			return a.print(got, formatTable, func(t *table) {
				t.line(fmt.Sprintf("Run %s was asked to stop; it is %s", got.GetRun().GetRunId(), stateName(got.GetRun().GetState())))
			})
		}),
	}
}

const runPrefix = "runs/"

func runName(id string) string {
	if strings.HasPrefix(id, runPrefix) {
		return id
	}
	return runPrefix + id
}

func stateName(s controlv1.RunState) string { return strings.TrimPrefix(s.String(), "RUN_STATE_") }

// ended reports whether a state is final.
func ended(s controlv1.RunState) bool { return s >= controlv1.RunState_RUN_STATE_SUCCEEDED }
