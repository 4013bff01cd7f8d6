package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
)

func (a *app) flows() *cobra.Command {
	c := noun("flows", "Blueprints: source, mapping, rules, target",
		a.flowsApply(), a.flowsGet(), a.flowsList(), a.flowsDelete(), a.flowsPreview(), a.flowsPublish(), a.aliases())
	c.Aliases = []string{"flow"}
	return c
}

func (a *app) flowsApply() *cobra.Command {
	var (
		files  []string
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create or change flows from files",
		Long: `Create or change flows from YAML or JSON files; docs/flow.md explains every field.

The flow is compiled by the engine before it is stored. Every problem is printed with file, line, column and field.
Versions that were published do not change.`,
		Args: cobra.NoArgs,
		RunE: a.online(func(ctx context.Context, c *client, _ []string) error {
			docs, err := a.documents(files)
			if err != nil {
				return err
			}
			for _, doc := range docs {
				if err := a.applyFlow(ctx, c, doc, dryRun); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "`file`, - for standard input, or a folder; may be repeated")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check and compile, change nothing")
	return cmd
}

func (a *app) applyFlow(ctx context.Context, c *client, doc *document, dryRun bool) error {
	spec := &flowv1.Flow{}
	if err := doc.decodeValid(spec); err != nil {
		return err
	}
	name := flowName(spec.GetName())
	before, err := c.flows.GetFlow(ctx, &controlv1.GetFlowRequest{Name: name})
	if err != nil && status.Code(err) != codes.NotFound {
		return err
	}
	after, err := c.flows.UpdateFlow(ctx, &controlv1.UpdateFlowRequest{
		Flow: &controlv1.Flow{Name: name, Spec: spec}, AllowMissing: true, ValidateOnly: dryRun,
	})
	if err != nil {
		return doc.locate(err)
	}
	return a.print(after, formatTable, func(t *table) {
		t.line(fmt.Sprintf("Flow %s %s", flowID(after.GetName()), done(before == nil, dryRun)))
	})
}

func (a *app) flowsGet() *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Show a flow", Args: cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			got, err := c.flows.GetFlow(ctx, &controlv1.GetFlowRequest{Name: flowName(args[0])})
			if err != nil {
				return err
			}
			return a.print(got, formatYAML, func(t *table) { flowTable(t, got) })
		}),
	}
}

func flowTable(t *table, flows ...*controlv1.Flow) {
	t.row("NAME", "LATEST", "SOURCE", "TARGET", "UPDATED", "DESCRIPTION")
	for _, f := range flows {
		spec := f.GetSpec()
		latest := "-"
		if n := f.GetLatestVersion(); n > 0 {
			latest = fmt.Sprintf("v%d", n)
		}
		var targets []string
		for _, target := range append([]*flowv1.Target{spec.GetTarget()}, spec.GetTargets()...) {
			if target != nil {
				targets = append(targets, target.GetConnector()+":"+first(target.GetTable(), target.GetPrefix()))
			}
		}
		t.row(flowID(f.GetName()), latest, spec.GetSource().GetConnector(), strings.Join(targets, ","), f.GetUpdateTime(), short(spec.GetDescription(), 60))
	}
}

func (a *app) flowsList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List flows by name", Args: cobra.NoArgs,
		RunE: a.online(func(ctx context.Context, c *client, _ []string) error {
			items, more, err := collect(limit, func(size int32, token string) ([]*controlv1.Flow, string, error) {
				r, err := c.flows.ListFlows(ctx, &controlv1.ListFlowsRequest{PageSize: size, PageToken: token})
				return r.GetFlows(), r.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			defer a.noteMore(more, len(items))
			return printAll(a, &controlv1.ListFlowsResponse{Flows: items}, items, func(t *table) { flowTable(t, items...) })
		}),
	}
	limitFlag(cmd, &limit)
	return cmd
}

func (a *app) flowsDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME...", Short: "Delete flows that have no version", Args: cobra.MinimumNArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			return a.each(args, "Flow", func(name string) error {
				_, err := c.flows.DeleteFlow(ctx, &controlv1.DeleteFlowRequest{Name: flowName(name)})
				return err
			})
		}),
	}
}

func (a *app) flowsPublish() *cobra.Command {
	var (
		comment, alias string
		dryRun         bool
	)
	cmd := &cobra.Command{
		Use:   "publish NAME",
		Short: "Make the next immutable version of a flow",
		Long: `Make the next immutable version of a flow. Publishing what is published already answers with the version that has it.

With --alias the alias is moved to that version, which is a promotion.`,
		Args: cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			v, err := c.flows.PublishFlow(ctx, &controlv1.PublishFlowRequest{Name: flowName(args[0]), Comment: comment, ValidateOnly: dryRun})
			if err != nil {
				return err
			}
			if alias != "" && !dryRun {
				if _, err := c.flows.SetAlias(ctx, &controlv1.SetAliasRequest{Alias: &controlv1.Alias{
					Name: flowName(args[0]) + "/aliases/" + alias, Version: v.GetNumber(),
				}}); err != nil {
					return err
				}
			}
			return a.print(v, formatTable, func(t *table) {
				if dryRun {
					t.line(fmt.Sprintf("Flow %s can be published", args[0]))
					return
				}
				t.line(fmt.Sprintf("Published %s (%s)", v.GetFlowVersion(), v.GetDigest()))
				if alias != "" {
					t.line(fmt.Sprintf("%s:%s is %s now", flowID(flowName(args[0])), alias, v.GetFlowVersion()))
				}
			})
		}),
	}
	cmd.Flags().StringVar(&comment, "comment", "", "why this version is made")
	cmd.Flags().StringVar(&alias, "alias", "", "move this `alias` to the version")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check and compile, change nothing")
	return cmd
}

const flowPrefix = "flows/"

func flowName(id string) string {
	if strings.HasPrefix(id, flowPrefix) {
		return id
	}
	return flowPrefix + id
}

func flowID(name string) string { return strings.TrimPrefix(name, flowPrefix) }
