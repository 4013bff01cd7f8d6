package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

// typeSecret is the type of a field that is a secret.
const typeSecret = "secret"

func (a *app) connectorsCreate() *cobra.Command {
	var (
		f      form
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "create NAME --type TYPE",
		Short: "Create a connector, and be asked for what it needs",
		Long: `Create a connector from flags, and be asked at the terminal for the settings and secrets that its type requires and
that no flag gives; with --all for the optional ones too. Answers are checked at once; an empty one takes the default.

Secrets are never arguments. 'lume connectors specs TYPE' lists the settings and secrets of a type. To change a
connector, or to keep it beside your code, write a file and use 'lume connectors apply'.`,
		Example: `  lume connectors create warehouse --type postgres
  lume connectors create warehouse --type postgres --set host=db.example.com --set database=sales --set user=lume --secret password=env:WAREHOUSE_PASSWORD`,
		Args: cobra.ExactArgs(1),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			f.connector = &controlv1.Connector{Name: connectorName(args[0]), Type: f.typ, Description: f.description, Settings: &structpb.Struct{Fields: map[string]*structpb.Value{}}}
			if err := a.complete(ctx, c, &f); err != nil {
				return err
			}
			created, err := c.connectors.CreateConnector(ctx, &controlv1.CreateConnectorRequest{Connector: f.connector, ConnectorId: connectorID(f.connector.GetName()), ValidateOnly: dryRun})
			if err != nil {
				return err
			}
			return a.print(created, formatTable, func(t *table) {
				t.line(fmt.Sprintf("Connector %s %s", connectorID(created.GetName()), done(true, dryRun)))
				if !dryRun {
					t.line("Next: 'lume connectors test " + connectorID(created.GetName()) + "' shows whether it works")
				}
			})
		}),
	}
	cmd.Flags().StringVar(&f.typ, "type", "", "`type` of system, as 'lume connectors specs' lists them")
	cmd.Flags().StringVar(&f.description, "description", "", "`text` for people")
	cmd.Flags().StringArrayVar(&f.settings, "set", nil, "`name=value` of a setting; may be repeated")
	cmd.Flags().StringArrayVar(&f.secrets, "secret", nil, "`name=@file`, name=env:VARIABLE, or name=- to be asked; may be repeated")
	cmd.Flags().BoolVar(&f.all, "all", false, "ask for every setting and secret, not only for those that are required")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check everything, change nothing")
	return cmd
}

// form is a connector in the making.
type form struct {
	typ, description  string
	settings, secrets []string
	all               bool
	connector         *controlv1.Connector
}

// complete fills the form in: from flags, and then by questions at the terminal.
func (a *app) complete(ctx context.Context, c *client, f *form) error {
	spec, err := a.specOf(ctx, c, f.typ)
	if err != nil {
		return err
	}
	if err := f.set(spec); err != nil {
		return err
	}
	if err := a.secretFlags(f.connector, f.secrets); err != nil {
		return err
	}
	var open []*controlv1.ConnectorField
	for _, field := range spec.GetFields() {
		if !f.has(field) && (f.all || field.GetRequired() && field.GetDefault() == "") {
			open = append(open, field)
		}
	}
	if len(open) == 0 {
		return nil
	}
	if !a.atTerminal() {
		return missing(open)
	}
	for _, field := range open {
		if err := a.answer(f, field); err != nil {
			return err
		}
	}
	return nil
}

// specOf returns the spec of a type. Without one it says which there are.
func (a *app) specOf(ctx context.Context, c *client, typ string) (*controlv1.ConnectorSpec, error) {
	if typ != "" {
		return c.connectors.GetConnectorSpec(ctx, &controlv1.GetConnectorSpecRequest{Name: "connectorSpecs/" + typ})
	}
	specs, err := c.connectors.ListConnectorSpecs(ctx, &controlv1.ListConnectorSpecsRequest{})
	if err != nil {
		return nil, err
	}
	var types []string
	for _, s := range specs.GetConnectorSpecs() {
		types = append(types, s.GetType())
	}
	return nil, problemf("give one by --type: "+strings.Join(types, ", "), "the type of the connector is missing")
}

// set reads the settings that flags give.
func (f *form) set(spec *controlv1.ConnectorSpec) error {
	for _, flag := range f.settings {
		name, text, ok := strings.Cut(flag, "=")
		if !ok || name == "" {
			return problemf("write --set NAME=VALUE", "--set %s has no name or no value", flag)
		}
		i := slices.IndexFunc(spec.GetFields(), func(field *controlv1.ConnectorField) bool { return field.GetName() == name })
		if i < 0 {
			return problemf("see 'lume connectors specs "+spec.GetType()+"'", "%s is not a setting of connector type %s", name, spec.GetType())
		}
		field := spec.GetFields()[i]
		if field.GetType() == typeSecret {
			return problemf("give it by --secret "+name+"=@FILE or --secret "+name+"=env:VARIABLE", "%s is a secret, which is never an argument", name)
		}
		value, wrong := parseSetting(field, text)
		if wrong != "" {
			return problemf("see 'lume connectors specs "+spec.GetType()+"'", "%s %s", name, wrong)
		}
		f.connector.Settings.Fields[name] = value
	}
	return nil
}

// has reports whether a field has been given.
func (f *form) has(field *controlv1.ConnectorField) bool {
	if field.GetType() == typeSecret {
		_, ok := f.connector.GetSecrets()[field.GetName()]
		return ok
	}
	_, ok := f.connector.GetSettings().GetFields()[field.GetName()]
	return ok
}

// parseSetting reads the text of a setting, or says what is wrong with it.
func parseSetting(field *controlv1.ConnectorField, text string) (value *structpb.Value, wrong string) {
	switch field.GetType() {
	case "boolean":
		truth, err := strconv.ParseBool(text)
		if err != nil {
			return nil, "must be true or false"
		}
		return structpb.NewBoolValue(truth), ""
	case "integer":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || math.Abs(float64(n)) >= 1<<53 {
			return nil, "must be a whole number"
		}
		return structpb.NewNumberValue(float64(n)), ""
	case "enum":
		if !slices.Contains(field.GetValues(), text) {
			return nil, "must be one of " + strings.Join(field.GetValues(), ", ")
		}
	}
	return structpb.NewStringValue(text), ""
}

// missing is the error of fields that nobody can be asked for.
func missing(fields []*controlv1.ConnectorField) error {
	var names, flags []string
	for _, f := range fields {
		names = append(names, f.GetName())
		if f.GetType() == typeSecret {
			flags = append(flags, "--secret "+f.GetName()+"=@FILE")
		} else {
			flags = append(flags, "--set "+f.GetName()+"=VALUE")
		}
	}
	return problemf("give "+strings.Join(flags, " "), "needed, and there is no terminal to ask at: %s", strings.Join(names, ", "))
}

// answer asks for a field until the answer is one. An empty answer takes the default, or leaves an optional field unset.
func (a *app) answer(f *form, field *controlv1.ConnectorField) error {
	fmt.Fprintf(a.env.Err, "\n%s\n", question(field))
	for {
		if field.GetType() == typeSecret {
			text, err := a.ask(field.GetName())
			if err != nil {
				return err
			}
			if text != "" {
				if f.connector.Secrets == nil {
					f.connector.Secrets = map[string]string{}
				}
				f.connector.Secrets[field.GetName()] = text
			} else if field.GetRequired() {
				fmt.Fprintf(a.env.Err, "%s is required\n", field.GetName())
				continue
			}
			return nil
		}
		text, err := a.line(field)
		switch {
		case err != nil:
			return err
		case text == "" && field.GetRequired() && field.GetDefault() == "":
			fmt.Fprintf(a.env.Err, "%s is required\n", field.GetName())
		case text == "":
			return nil
		default:
			value, wrong := parseSetting(field, text)
			if wrong == "" {
				f.connector.Settings.Fields[field.GetName()] = value
				return nil
			}
			fmt.Fprintf(a.env.Err, "%s %s\n", field.GetName(), wrong)
		}
	}
}

// question says what a field means.
func question(field *controlv1.ConnectorField) string {
	text := field.GetDescription()
	if len(field.GetValues()) > 0 {
		text += " One of " + strings.Join(field.GetValues(), ", ") + "."
	}
	if field.GetExample() != "" {
		text += " For example: " + field.GetExample()
	}
	return printable(text)
}

// line reads a line at the terminal. The prompt shows what an empty one stands for.
func (a *app) line(field *controlv1.ConnectorField) (string, error) {
	prompt := field.GetName()
	if field.GetDefault() != "" {
		prompt += " [" + field.GetDefault() + "]"
	}
	fmt.Fprint(a.env.Err, prompt+": ")
	// Byte by byte, so that nothing of the next answer, a secret perhaps, is taken with it.
	var text []byte
	for one := make([]byte, 1); ; {
		n, err := a.env.In.Read(one)
		if n > 0 && one[0] == '\n' || err != nil && len(text) > 0 {
			return strings.TrimSpace(string(text)), nil
		}
		if err != nil {
			return "", fmt.Errorf("read %s: %w", field.GetName(), err)
		}
		text = append(text, one[:n]...)
	}
}
