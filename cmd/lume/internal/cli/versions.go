package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

func (a *app) versions() *cobra.Command {
	return noun("versions", "Immutable versions of flows", a.versionsGet(), a.versionsList())
}

func (a *app) versionsGet() *cobra.Command {
	return &cobra.Command{
		Use: "get FLOW:vN", Short: "Show a version with its digest", Args: cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			flow, number, err := parseVersion(args[0])
			if err != nil {
				return err
			}
			got, err := c.flows.GetVersion(ctx, &controlv1.GetVersionRequest{Name: fmt.Sprintf("%s/versions/%d", flowName(flow), number)})
			if err != nil {
				return err
			}
			return a.print(got, formatYAML, func(t *table) { versionTable(t, got) })
		}),
	}
}

func versionTable(t *table, versions ...*controlv1.Version) {
	t.row("VERSION", "PUBLISHED", "DIGEST", "ENGINE", "COMMENT")
	for _, v := range versions {
		t.row(v.GetFlowVersion(), v.GetCreateTime(), short(v.GetDigest(), 24), v.GetEngine(), short(v.GetComment(), 60))
	}
}

func (a *app) versionsList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "list FLOW", Short: "List the versions of a flow, newest first", Args: cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			items, more, err := collect(limit, func(size int32, token string) ([]*controlv1.Version, string, error) {
				r, err := c.flows.ListVersions(ctx, &controlv1.ListVersionsRequest{Parent: flowName(args[0]), PageSize: size, PageToken: token})
				return r.GetVersions(), r.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			defer a.noteMore(more, len(items))
			return printAll(a, &controlv1.ListVersionsResponse{Versions: items}, items, func(t *table) { versionTable(t, items...) })
		}),
	}
	limitFlag(cmd, &limit)
	return cmd
}

// parseVersion reads `flow:vN`.
func parseVersion(text string) (flow string, number int32, err error) {
	flow, version, ok := strings.Cut(text, ":")
	digits, numbered := strings.CutPrefix(version, "v")
	n, convErr := strconv.ParseInt(digits, 10, 32)
	if !ok || !numbered || convErr != nil || n < 1 {
		return "", 0, problemf("'lume versions list FLOW' lists them", "a version is written FLOW:vN, for example invoices:v4, and not %s", text)
	}
	return flow, int32(n), nil
}
