package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

func (a *app) runsRejects() *cobra.Command {
	var (
		limit int
		stage string
	)
	cmd := &cobra.Command{
		Use:   "rejects RUN",
		Short: "List what a run rejected, and why",
		Long: `List what a run rejected, by stage and then in delivered order: one line per reason.

-o jsonl prints one reject per line with the original record; with --limit 0 that is the export of them all.`,
		Example: "  lume runs rejects run_01JD… -o jsonl --limit 0 > rejects.jsonl",
		Args:    cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			req := &controlv1.ListRejectsRequest{Parent: runName(args[0])}
			if stage != "" {
				value, ok := typev1.Stage_value["STAGE_"+strings.ToUpper(stage)]
				if !ok || value == 0 {
					return problemf("use ingest, transform or egress", "there is no stage %s", stage)
				}
				req.Stage = typev1.Stage(value)
			}
			if a.output == formatJSONL {
				return a.exportRejects(ctx, c, req, limit)
			}
			items, more, err := collect(limit, func(size int32, token string) ([]*typev1.Reject, string, error) {
				req.PageSize, req.PageToken = size, token
				r, err := c.runs.ListRejects(ctx, req)
				return r.GetRejects(), r.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			defer a.noteMore(more, len(items))
			return a.print(&controlv1.ListRejectsResponse{Rejects: items}, formatTable, func(t *table) { rejectTable(t, items) })
		}),
	}
	cmd.Flags().StringVar(&stage, "stage", "", "only rejects of this `stage`: ingest, transform or egress")
	limitFlag(cmd, &limit)
	return cmd
}

// exportRejects prints page after page, since there may be more rejects than memory.
func (a *app) exportRejects(ctx context.Context, c *client, req *controlv1.ListRejectsRequest, limit int) error {
	shown := 0
	for {
		req.PageSize = pageSize
		if limit > 0 {
			req.PageSize = int32(min(pageSize, limit-shown))
		}
		r, err := c.runs.ListRejects(ctx, req)
		if err != nil {
			return err
		}
		for _, reject := range r.GetRejects() {
			if err := a.print(reject, formatJSONL, nil); err != nil {
				return err
			}
		}
		shown += len(r.GetRejects())
		req.PageToken = r.GetNextPageToken()
		if req.GetPageToken() == "" || (limit > 0 && shown >= limit) {
			a.noteMore(req.GetPageToken() != "", shown)
			return nil
		}
	}
}

func rejectTable(t *table, rejects []*typev1.Reject) {
	t.row("ROW", "LINE", "STAGE", "COLUMN", "RULE", "TYPE", "VALUE", "MESSAGE")
	for _, r := range rejects {
		row, line := "-", "-"
		if c := r.GetCoordinate(); c != nil {
			if c.Row != nil {
				row = fmt.Sprint(c.GetRow())
			}
			if c.Line != nil {
				line = fmt.Sprint(c.GetLine())
			}
		}
		stage := strings.ToLower(strings.TrimPrefix(r.GetStage().String(), "STAGE_"))
		if r.GetTarget() != "" {
			stage += " (" + r.GetTarget() + ")"
		}
		for _, e := range r.GetErrors() {
			value := "NULL"
			if e.Value != nil {
				value = short(e.GetValue(), cellWidth)
			}
			t.row(row, line, stage, first(e.GetColumn(), "-"), first(e.GetRule(), "-"), e.GetType(), value, e.GetMessage())
		}
	}
}
