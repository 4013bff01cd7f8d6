package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

func (a *app) connectors() *cobra.Command {
	c := noun("connectors", "Links to external systems",
		a.connectorsApply(), a.connectorsCreate(), a.connectorsGet(), a.connectorsList(), a.connectorsSpecs(),
		a.connectorsTest(), a.connectorsDiscover(), a.connectorsDelete())
	c.Aliases = []string{"connector"}
	return c
}

func (a *app) connectorsApply() *cobra.Command {
	var (
		files, secrets []string
		dryRun         bool
	)
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create or change connectors from files",
		Long: `Create or change connectors from YAML or JSON files in the shape of the API's Connector:

  name: warehouse
  type: postgres
  settings: {host: db.example.com, database: sales, user: lume}
  secrets: {password: "${env:WAREHOUSE_PASSWORD}"}

Secrets are write-only. One that a file does not mention stays as it is, unless the system's address changes.
'lume connectors specs TYPE' lists the settings and secrets of a type.`,
		Example: `  lume connectors apply -f warehouse.yaml
  lume connectors apply -f warehouse.yaml --secret password=@password.txt
  lume connectors apply -f warehouse.yaml --secret password=-`,
		Args: cobra.NoArgs,
		RunE: a.online(func(ctx context.Context, c *client, _ []string) error {
			docs, err := a.documents(files)
			if err != nil {
				return err
			}
			if len(secrets) > 0 && len(docs) > 1 {
				return problemf("apply that connector's file alone", "--secret belongs to one connector, and there are %d", len(docs))
			}
			for _, doc := range docs {
				if err := a.applyConnector(ctx, c, doc, secrets, dryRun); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "`file`, - for standard input, or a folder; may be repeated")
	cmd.Flags().StringArrayVar(&secrets, "secret", nil, "`name=@file`, name=env:VARIABLE, or name=- to be asked; may be repeated")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check everything, change nothing")
	return cmd
}

func (a *app) applyConnector(ctx context.Context, c *client, doc *document, secrets []string, dryRun bool) error {
	connector, err := a.connectorOf(doc, secrets)
	if err != nil {
		return err
	}
	before, err := c.connectors.GetConnector(ctx, &controlv1.GetConnectorRequest{Name: connector.GetName()})
	if err != nil && status.Code(err) != codes.NotFound {
		return doc.locate(err)
	}
	if before == nil {
		if err := a.askRequired(ctx, c, connector); err != nil {
			return err
		}
	}
	after, err := c.connectors.UpdateConnector(ctx, &controlv1.UpdateConnectorRequest{
		Connector: connector, AllowMissing: true, ValidateOnly: dryRun,
	})
	if err != nil {
		return doc.locate(err)
	}
	return a.print(after, formatTable, func(t *table) {
		t.line(fmt.Sprintf("Connector %s %s", connectorID(after.GetName()), done(before == nil, dryRun)))
	})
}

// done names what an apply did.
func done(created, dryRun bool) string {
	switch {
	case dryRun && created:
		return "is valid and would be created"
	case dryRun:
		return "is valid and would be changed"
	case created:
		return "created"
	}
	return "updated"
}

// connectorOf reads a connector file, whose name may be short.
func (a *app) connectorOf(doc *document, secrets []string) (*controlv1.Connector, error) {
	if err := doc.checkSecrets(); err != nil {
		return nil, err
	}
	connector := &controlv1.Connector{}
	if err := doc.decode(connector); err != nil {
		return nil, err
	}
	if connector.GetName() == "" {
		return nil, &fileError{path: doc.path, lines: []string{doc.path + ":1:1 name: is required"}}
	}
	connector.Name = connectorName(connector.GetName())
	if err := a.fill(connector); err != nil {
		return nil, err
	}
	return connector, a.secretFlags(connector, secrets)
}

// askRequired asks at the terminal for secrets that the type requires and that are given nowhere.
func (a *app) askRequired(ctx context.Context, c *client, connector *controlv1.Connector) error {
	spec, err := c.connectors.GetConnectorSpec(ctx, &controlv1.GetConnectorSpecRequest{Name: "connectorSpecs/" + connector.GetType()})
	if err != nil {
		return nil //nolint:nilerr // The type is wrong: creating the connector says so, with its place.
	}
	for _, f := range spec.GetFields() {
		if f.GetType() != typeSecret || !f.GetRequired() {
			continue
		}
		if _, given := connector.GetSecrets()[f.GetName()]; given {
			continue
		}
		value, err := a.ask(f.GetName())
		if err != nil {
			return err
		}
		if connector.Secrets == nil {
			connector.Secrets = map[string]string{}
		}
		connector.Secrets[f.GetName()] = value
	}
	return nil
}

func (a *app) connectorsGet() *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Show a connector; secrets show only that they are set", Args: cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			got, err := c.connectors.GetConnector(ctx, &controlv1.GetConnectorRequest{Name: connectorName(args[0])})
			if err != nil {
				return err
			}
			return a.print(got, formatYAML, func(t *table) { connectorTable(t, got) })
		}),
	}
}

func connectorTable(t *table, connectors ...*controlv1.Connector) {
	t.row("NAME", "TYPE", "SECRETS", "UPDATED", "DESCRIPTION")
	for _, c := range connectors {
		var secrets []string
		for _, s := range c.GetSecretsSet() {
			secrets = append(secrets, s.GetField())
		}
		t.row(connectorID(c.GetName()), c.GetType(), strings.Join(secrets, ","), c.GetUpdateTime(), short(c.GetDescription(), 60))
	}
}

func (a *app) connectorsList() *cobra.Command {
	var (
		limit int
		typ   string
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List connectors by name", Args: cobra.NoArgs,
		RunE: a.online(func(ctx context.Context, c *client, _ []string) error {
			items, more, err := collect(limit, func(size int32, token string) ([]*controlv1.Connector, string, error) {
				r, err := c.connectors.ListConnectors(ctx, &controlv1.ListConnectorsRequest{PageSize: size, PageToken: token, Type: typ})
				return r.GetConnectors(), r.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			defer a.noteMore(more, len(items))
			return printAll(a, &controlv1.ListConnectorsResponse{Connectors: items}, items, func(t *table) { connectorTable(t, items...) })
		}),
	}
	cmd.Flags().StringVar(&typ, "type", "", "only connectors of this `type`")
	limitFlag(cmd, &limit)
	return cmd
}

func limitFlag(cmd *cobra.Command, limit *int) {
	cmd.Flags().IntVar(limit, "limit", 100, "most `items` to list; 0 for all")
}

func (a *app) connectorsSpecs() *cobra.Command {
	return &cobra.Command{
		Use: "specs [TYPE]", Short: "List the types of connector, or the settings of one", Args: cobra.MaximumNArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			if len(args) == 1 {
				spec, err := c.connectors.GetConnectorSpec(ctx, &controlv1.GetConnectorSpecRequest{Name: "connectorSpecs/" + args[0]})
				if err != nil {
					return err
				}
				return a.print(spec, formatTable, func(t *table) { specTable(t, spec) })
			}
			items, _, err := collect(0, func(size int32, token string) ([]*controlv1.ConnectorSpec, string, error) {
				r, err := c.connectors.ListConnectorSpecs(ctx, &controlv1.ListConnectorSpecsRequest{PageSize: size, PageToken: token})
				return r.GetConnectorSpecs(), r.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			return printAll(a, &controlv1.ListConnectorSpecsResponse{ConnectorSpecs: items}, items, func(t *table) {
				t.row("TYPE", "TITLE", "SOURCE", "TARGET", "OBJECTS")
				for _, s := range items {
					t.row(s.GetType(), s.GetTitle(), s.GetSource(), s.GetTarget(), s.GetObjectStore())
				}
			})
		}),
	}
}

func specTable(t *table, spec *controlv1.ConnectorSpec) {
	t.line(spec.GetTitle() + " (" + spec.GetType() + ")")
	t.line(spec.GetDescription() + "\n")
	t.row("FIELD", "TYPE", "REQUIRED", "DEFAULT", "MEANING")
	for _, f := range spec.GetFields() {
		meaning := f.GetDescription()
		if len(f.GetValues()) > 0 {
			meaning += " One of " + strings.Join(f.GetValues(), ", ") + "."
		}
		t.row(f.GetName(), f.GetType(), f.GetRequired(), f.GetDefault(), meaning)
	}
}

func (a *app) connectorsTest() *cobra.Command {
	var (
		files, secrets []string
	)
	cmd := &cobra.Command{
		Use:   "test NAME | test -f FILE",
		Short: "Test a stored connector, or a file before it is applied",
		Args:  cobra.MaximumNArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			req := &controlv1.TestConnectorRequest{}
			if len(files) > 0 {
				docs, err := a.documents(files)
				if err != nil {
					return err
				}
				if req.Connector, err = a.connectorOf(docs[0], secrets); err != nil {
					return err
				}
				req.Name = req.Connector.GetName()
			}
			if len(args) == 1 {
				req.Name = connectorName(args[0])
			}
			if req.GetName() == "" {
				return problemf("see 'lume connectors test --help'", "a connector's name or a file is needed")
			}
			got, err := c.connectors.TestConnector(ctx, req)
			if err != nil {
				return err
			}
			if err := a.print(got, formatTable, func(t *table) { checkTable(t, got.GetChecks()) }); err != nil {
				return err
			}
			if !got.GetOk() {
				return &exitError{code: ExitError}
			}
			return nil
		}),
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "`file` with the settings to test instead of the stored ones")
	cmd.Flags().StringArrayVar(&secrets, "secret", nil, "as for apply")
	return cmd
}

func checkTable(t *table, checks []*controlv1.ConnectorCheck) {
	t.row("CHECK", "STATUS", "REASON", "MESSAGE")
	for _, c := range checks {
		t.row(c.GetName(), c.GetStatus(), c.GetReason(), c.GetMessage())
	}
	for _, c := range checks {
		if c.GetNextAction() != "" {
			t.line("Next: " + printable(c.GetNextAction()))
		}
	}
}

func (a *app) connectorsDiscover() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "discover NAME [PREFIX]", Short: "List the tables or objects of a connector's system", Args: cobra.RangeArgs(1, 2),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			prefix := strings.Join(args[1:], "")
			items, more, err := collect(limit, func(size int32, token string) ([]*controlv1.DiscoveredItem, string, error) {
				r, err := c.connectors.DiscoverConnector(ctx, &controlv1.DiscoverConnectorRequest{
					Name: connectorName(args[0]), Prefix: prefix, PageSize: size, PageToken: token,
				})
				return r.GetItems(), r.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			defer a.noteMore(more, len(items))
			return printAll(a, &controlv1.DiscoverConnectorResponse{Items: items}, items, func(t *table) { itemTable(t, items) })
		}),
	}
	limitFlag(cmd, &limit)
	return cmd
}

func itemTable(t *table, items []*controlv1.DiscoveredItem) {
	t.row("PATH", "KIND", "SIZE", "MODIFIED", "COLUMNS")
	for _, i := range items {
		var columns []string
		for _, c := range i.GetColumns() {
			columns = append(columns, c.GetName()+" "+first(c.GetType(), c.GetNativeType()))
		}
		size := ""
		if i.Size != nil {
			size = count(i.GetSize())
		}
		t.row(i.GetPath(), i.GetKind(), size, i.GetModifyTime(), short(strings.Join(columns, ", "), 100))
	}
}

func (a *app) connectorsDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME...", Short: "Delete connectors and their secrets", Args: cobra.MinimumNArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			return a.each(args, "Connector", func(name string) error {
				_, err := c.connectors.DeleteConnector(ctx, &controlv1.DeleteConnectorRequest{Name: connectorName(name)})
				return err
			})
		}),
	}
}

// each deletes one after the other and says so; the first error ends it.
func (a *app) each(names []string, kind string, remove func(name string) error) error {
	for _, name := range names {
		if err := remove(name); err != nil {
			return err
		}
		if slices.Contains([]string{"", formatTable}, a.output) {
			fmt.Fprintf(a.env.Out, "%s %s deleted\n", kind, name)
		}
	}
	return nil
}

const connectorPrefix = "connectors/"

func connectorName(id string) string {
	if strings.HasPrefix(id, connectorPrefix) {
		return id
	}
	return connectorPrefix + id
}

func connectorID(name string) string { return strings.TrimPrefix(name, connectorPrefix) }
