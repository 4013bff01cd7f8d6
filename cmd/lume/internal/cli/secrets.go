package cli

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/term"
	"google.golang.org/protobuf/types/known/structpb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

// reference is `${env:NAME}` in a setting or secret of a connector file.
var reference = regexp.MustCompile(`\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces `${env:NAME}`. A variable that is not set is an error, an empty one is not.
func (a *app) expand(field, text string) (string, error) {
	var missing string
	out := reference.ReplaceAllStringFunc(text, func(m string) string {
		name := reference.FindStringSubmatch(m)[1]
		if a.env.Lookup != nil {
			if value, ok := a.env.Lookup(name); ok {
				return value
			}
		}
		missing = name
		return ""
	})
	if missing != "" {
		return "", problemf("set it and try again", "%s refers to the environment variable %s, which is not set", field, missing)
	}
	return out, nil
}

// fill replaces the references of a connector file.
func (a *app) fill(c *controlv1.Connector) error {
	for name, value := range c.GetSettings().GetFields() {
		text, ok := value.GetKind().(*structpb.Value_StringValue)
		if !ok {
			continue
		}
		filled, err := a.expand("settings."+name, text.StringValue)
		if err != nil {
			return err
		}
		c.Settings.Fields[name] = structpb.NewStringValue(filled)
	}
	for name, value := range c.GetSecrets() {
		filled, err := a.expand("secrets."+name, value)
		if err != nil {
			return err
		}
		c.Secrets[name] = filled
	}
	return nil
}

// secretFlags reads `--secret name=@file`, `name=env:VARIABLE` and `name=-` (asked for, without echo). A secret is never
// an argument itself, since arguments show in process lists and shell histories.
func (a *app) secretFlags(c *controlv1.Connector, flags []string) error {
	for _, flag := range flags {
		name, from, ok := strings.Cut(flag, "=")
		if !ok || name == "" {
			return problemf("write --secret NAME=@FILE, NAME=env:VARIABLE or NAME=-", "--secret %s has no name", first(name, flag))
		}
		value, err := a.secret(name, from)
		if err != nil {
			return err
		}
		if c.Secrets == nil {
			c.Secrets = map[string]string{}
		}
		c.Secrets[name] = value
	}
	return nil
}

func (a *app) secret(name, from string) (string, error) {
	if path, ok := strings.CutPrefix(from, "@"); ok {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		return strings.TrimRight(string(text), "\r\n"), nil
	}
	if variable, ok := strings.CutPrefix(from, "env:"); ok {
		return a.expand("--secret "+name, "${env:"+variable+"}")
	}
	if from == "-" {
		return a.ask(name)
	}
	return "", problemf("write --secret NAME=@FILE, NAME=env:VARIABLE or NAME=-", "the secret %s is not taken from an argument", name)
}

// ask reads a secret from the terminal without echo.
func (a *app) ask(name string) (string, error) {
	if !a.atTerminal() {
		return "", problemf("give it by --secret "+name+"=@FILE or --secret "+name+"=env:VARIABLE",
			"the secret %s is needed, and there is no terminal to ask at", name)
	}
	fmt.Fprintf(a.env.Err, "%s: ", name)
	text, err := term.ReadPassword(int(a.env.In.(*os.File).Fd()))
	fmt.Fprintln(a.env.Err)
	return string(text), err
}

// atTerminal reports whether there is somebody to ask.
func (a *app) atTerminal() bool {
	file, ok := a.env.In.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// checkSecrets complains about secrets that are not text before a decoder does, which would show them.
func (d *document) checkSecrets() error {
	secrets := child(d.root.Content[0], "secrets")
	if secrets == nil || secrets.Kind != yaml.MappingNode {
		return nil
	}
	var lines []string
	for i := 0; i+1 < len(secrets.Content); i += 2 {
		key, value := secrets.Content[i], secrets.Content[i+1]
		if value.Kind != yaml.ScalarNode || value.Tag != "!!str" {
			lines = append(lines, fmt.Sprintf("%s:%d:%d secrets.%s: must be text: quote it", d.path, value.Line, value.Column, printable(key.Value)))
		}
	}
	if lines != nil {
		return &fileError{path: d.path, lines: lines}
	}
	return nil
}
