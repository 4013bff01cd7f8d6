package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

// waiting holds the flags of commands that wait for a run.
type waiting struct {
	timeout       time.Duration
	failOnRejects bool
	quiet         bool
}

func (w *waiting) flags(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&w.timeout, "timeout", 0, "stop waiting after this `duration`; the run goes on (default: wait for its end)")
	cmd.Flags().BoolVar(&w.failOnRejects, "fail-on-rejects", false, "exit with 5 if the run ends PARTIAL_FAILED")
	cmd.Flags().BoolVarP(&w.quiet, "quiet", "q", false, "show no progress")
}

func (a *app) run() *cobra.Command {
	var (
		wait      bool
		w         waiting
		meta      string
		force     bool
		requestID string
	)
	cmd := &cobra.Command{
		Use:   "run FLOW:VERSION SOURCE_PATH",
		Short: "Run a version on one batch",
		Long: `Run a version (FLOW:v4, or an alias such as FLOW:production) on one batch.

SOURCE_PATH is the full URI of one object (s3://bucket/key, file:///folder/file.csv) or, for a database, the batch id
that is bound to :source_path. A path of an existing local file is turned into its file:// URI.

Without --wait the command prints the run's id and ends. A batch that a version has loaded once is refused; --force
loads it again. Retrying with the same --request-id never starts a second run.

` + exitCodes,
		Example: `  lume run invoice_cleaner:production s3://invoices/batch-001.csv --wait
  lume run invoice_cleaner:v4 ./batch-001.csv --metadata '{"order": 17}' --wait --fail-on-rejects`,
		Args: cobra.ExactArgs(2),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			req := &controlv1.CreateRunRequest{FlowVersion: args[0], SourcePath: sourcePath(args[1]), ForceRerun: force, RequestId: requestID}
			if meta != "" {
				var err error
				if req.RunMetadata, err = a.metadata(meta); err != nil {
					return err
				}
			}
			run, err := c.runs.CreateRun(ctx, req)
			if err != nil {
				return err
			}
			if wait {
				return a.follow(ctx, c, run.GetName(), w)
			}
			return a.print(run, formatTable, func(t *table) { t.line(run.GetRun().GetRunId()) })
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&wait, "wait", "w", false, "wait for the end and show progress and receipt")
	f.StringVar(&meta, "metadata", "", "`JSON` object, or @file, that is kept with the run and sent with its events")
	f.BoolVar(&force, "force", false, "run although this version has loaded this batch")
	f.StringVar(&requestID, "request-id", "", "`id` that makes a retry safe")
	w.flags(cmd)
	return cmd
}

// sourcePath turns the path of an existing local file into its URI, and leaves everything else alone.
func sourcePath(text string) string {
	if strings.Contains(text, "://") {
		return text
	}
	abs, err := filepath.Abs(text)
	if err != nil {
		return text
	}
	if info, err := os.Stat(abs); err != nil || info.IsDir() {
		return text
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}).String()
}

func (a *app) metadata(text string) (*structpb.Struct, error) {
	if path, ok := strings.CutPrefix(text, "@"); ok {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		text = string(content)
	}
	if !json.Valid([]byte(text)) {
		return nil, problemf(`write for example --metadata '{"order": 17}'`, "--metadata is not JSON")
	}
	s := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(text), s); err != nil {
		return nil, problemf(`write for example --metadata '{"order": 17}'`, "--metadata must be a JSON object")
	}
	return s, nil
}

func (a *app) runsResume() *cobra.Command {
	var (
		wait      bool
		w         waiting
		requestID string
	)
	cmd := &cobra.Command{
		Use:   "resume RUN",
		Short: "Load the targets of a failed run that have not committed",
		Long: `Load the targets of a run that ended FAILED or CRASHED and have not committed, under the same run id and with a new
deadline. Nothing is read or transformed again, and targets that have committed are not touched.

It is possible as long as the staged data of the run are kept: a day after its end unless control is told otherwise.
A run that failed before it reached its targets is refused: run the batch again.

` + exitCodes,
		Example: "  lume runs resume run_01JD… --wait",
		Args:    cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			run, err := c.runs.ResumeRun(ctx, &controlv1.ResumeRunRequest{Name: runName(args[0]), RequestId: requestID})
			if err != nil {
				return err
			}
			if wait {
				return a.follow(ctx, c, run.GetName(), w)
			}
			return a.print(run, formatTable, func(t *table) { t.line(run.GetRun().GetRunId()) })
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&wait, "wait", "w", false, "wait for the end and show progress and receipt")
	f.StringVar(&requestID, "request-id", "", "`id` that makes a retry safe")
	w.flags(cmd)
	return cmd
}

func (a *app) runsWatch() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "watch RUN",
		Short: "Follow a run to its end",
		Long:  "Follow a run to its end and print its receipt.\n\n" + exitCodes,
		Args:  cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			return a.follow(ctx, c, runName(args[0]), w)
		}),
	}
	w.flags(cmd)
	return cmd
}

// follow waits for the end of a run, prints it and answers with the exit code of its state.
func (a *app) follow(ctx context.Context, c *client, name string, w waiting) error {
	waitCtx, cancel := ctx, context.CancelFunc(func() {})
	if w.timeout > 0 {
		waitCtx, cancel = context.WithTimeout(ctx, w.timeout)
	}
	defer cancel()
	var show display = silent{}
	if !w.quiet {
		show = a.display()
	}
	run, err := watch(waitCtx, c.runs, name, show)
	id := strings.TrimPrefix(name, runPrefix)
	switch {
	case err != nil && ctx.Err() != nil:
		return &exitError{code: ExitInterrupted, text: fmt.Sprintf("Interrupted. Run %s goes on: 'lume runs watch %s' follows it, 'lume runs cancel %s' stops it.", id, id, id)}
	case err != nil && errors.Is(waitCtx.Err(), context.DeadlineExceeded):
		return &exitError{code: ExitTimeout, text: fmt.Sprintf("Run %s has not ended after %s and goes on: 'lume runs watch %s' follows it.", id, w.timeout, id)}
	case err != nil:
		return err
	}
	if err := a.print(run, formatTable, func(t *table) { receiptTable(t, run) }); err != nil {
		return err
	}
	switch run.GetRun().GetState() {
	case controlv1.RunState_RUN_STATE_FAILED:
		return &exitError{code: ExitFailed}
	case controlv1.RunState_RUN_STATE_CRASHED:
		return &exitError{code: ExitCrashed}
	case controlv1.RunState_RUN_STATE_PARTIAL_FAILED:
		if w.failOnRejects {
			return &exitError{code: ExitRejects}
		}
	}
	return nil
}

// display chooses a bar for a terminal and lines for everything else; both go to standard error.
func (a *app) display() display {
	if file, ok := a.env.Err.(*os.File); ok && isTerminal(file) {
		return &bar{out: file}
	}
	return &lines{out: a.env.Err, now: time.Now}
}
