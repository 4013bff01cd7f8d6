package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

func (a *app) keys() *cobra.Command {
	c := noun("keys", "API keys of applications and people", a.keysCreate(), a.keysList(), a.keysRevoke())
	c.Aliases = []string{"key"}
	return c
}

func (a *app) keysCreate() *cobra.Command {
	var (
		scopes  []string
		expires time.Duration
	)
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an API key; it is shown this once",
		Long: `Create an API key for an application or a person. It is printed once; only a hash of it is kept.

Scopes: read (see everything but secrets), run (start and cancel runs), edit (connectors, flows, versions),
admin (keys). Each includes those before it.`,
		Example: "  lume keys create nightly-job --scope run --expires 2160h",
		Args:    cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			req := &controlv1.CreateApiKeyRequest{DisplayName: args[0], Scopes: scopes}
			if expires > 0 {
				req.ExpireTime = timestamppb.New(time.Now().Add(expires))
			}
			got, err := c.keys.CreateApiKey(ctx, req)
			if err != nil {
				return err
			}
			return a.print(got, formatTable, func(t *table) {
				t.line(got.GetKey())
				fmt.Fprintf(a.env.Err, "Key %s made. Keep it now: it is not shown again.\n", keyID(got.GetApiKey().GetName()))
			})
		}),
	}
	cmd.Flags().StringSliceVar(&scopes, "scope", []string{"run"}, "what the key may do: read, run, edit, admin")
	cmd.Flags().DurationVar(&expires, "expires", 0, "`duration` after which the key ends, for example 2160h (default: never)")
	return cmd
}

func (a *app) keysList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List API keys, newest first, revoked ones included", Args: cobra.NoArgs,
		RunE: a.online(func(ctx context.Context, c *client, _ []string) error {
			items, more, err := collect(limit, func(size int32, token string) ([]*controlv1.ApiKey, string, error) {
				r, err := c.keys.ListApiKeys(ctx, &controlv1.ListApiKeysRequest{PageSize: size, PageToken: token})
				return r.GetApiKeys(), r.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			defer a.noteMore(more, len(items))
			return printAll(a, &controlv1.ListApiKeysResponse{ApiKeys: items}, items, func(t *table) {
				t.row("ID", "NAME", "SCOPES", "CREATED", "LAST USED", "EXPIRES", "REVOKED")
				for _, k := range items {
					t.row(keyID(k.GetName()), k.GetDisplayName(), strings.Join(k.GetScopes(), ","), k.GetCreateTime(), k.GetLastUseTime(), k.GetExpireTime(), k.GetRevokeTime())
				}
			})
		}),
	}
	limitFlag(cmd, &limit)
	return cmd
}

func (a *app) keysRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "Revoke an API key for good", Args: cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			got, err := c.keys.RevokeApiKey(ctx, &controlv1.RevokeApiKeyRequest{Name: "apiKeys/" + keyID(args[0])})
			if err != nil {
				return err
			}
			return a.print(got, formatTable, func(t *table) {
				t.line(fmt.Sprintf("Key %s (%s) revoked", keyID(got.GetName()), printable(got.GetDisplayName())))
			})
		}),
	}
}

func keyID(name string) string { return strings.TrimPrefix(name, "apiKeys/") }
