package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

func (a *app) aliases() *cobra.Command {
	return noun("alias", "Names that point at a version and can move", a.aliasSet(), a.aliasList(), a.aliasDelete())
}

func (a *app) aliasSet() *cobra.Command {
	return &cobra.Command{
		Use:     "set FLOW:ALIAS vN",
		Short:   "Point an alias at a version: promotion and rollback",
		Example: "  lume flows alias set invoice_cleaner:production v4",
		Args:    cobra.ExactArgs(2),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			flow, alias, err := parseAlias(args[0])
			if err != nil {
				return err
			}
			_, number, err := parseVersion(flow + ":" + args[1])
			if err != nil {
				return err
			}
			got, err := c.flows.SetAlias(ctx, &controlv1.SetAliasRequest{Alias: &controlv1.Alias{Name: aliasName(flow, alias), Version: number}})
			if err != nil {
				return err
			}
			return a.print(got, formatTable, func(t *table) { t.line(fmt.Sprintf("%s:%s is v%d now", flow, alias, got.GetVersion())) })
		}),
	}
}

func (a *app) aliasList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "list FLOW", Short: "List the aliases of a flow", Args: cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			items, more, err := collect(limit, func(size int32, token string) ([]*controlv1.Alias, string, error) {
				r, err := c.flows.ListAliases(ctx, &controlv1.ListAliasesRequest{Parent: flowName(args[0]), PageSize: size, PageToken: token})
				return r.GetAliases(), r.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			defer a.noteMore(more, len(items))
			return printAll(a, &controlv1.ListAliasesResponse{Aliases: items}, items, func(t *table) {
				t.row("ALIAS", "VERSION", "UPDATED")
				for _, alias := range items {
					_, id, _ := strings.Cut(alias.GetName(), "/aliases/")
					t.row(flowID(flowName(args[0]))+":"+id, fmt.Sprintf("v%d", alias.GetVersion()), alias.GetUpdateTime())
				}
			})
		}),
	}
	limitFlag(cmd, &limit)
	return cmd
}

func (a *app) aliasDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete FLOW:ALIAS...", Short: "Delete aliases; their versions stay", Args: cobra.MinimumNArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			return a.each(args, "Alias", func(name string) error {
				flow, alias, err := parseAlias(name)
				if err != nil {
					return err
				}
				_, err = c.flows.DeleteAlias(ctx, &controlv1.DeleteAliasRequest{Name: aliasName(flow, alias)})
				return err
			})
		}),
	}
}

// parseAlias reads `flow:alias`.
func parseAlias(text string) (flow, alias string, err error) {
	flow, alias, ok := strings.Cut(text, ":")
	if !ok || flow == "" || alias == "" {
		return "", "", problemf("'lume flows alias list FLOW' lists them", "an alias is written FLOW:ALIAS, for example invoices:production, and not %s", text)
	}
	return flow, alias, nil
}

func aliasName(flow, alias string) string { return flowName(flow) + "/aliases/" + alias }
