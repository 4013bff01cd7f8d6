// Package settings gives every setting of a command four sources, strongest first: its flag, an environment variable,
// a YAML file, its default.
//
// A flag `grpc-address` is the variable LUME_GRPC_ADDRESS and the key `grpc_address`. LUME_GRPC_ADDRESS_FILE names a
// file that holds the value, for secrets that an orchestrator mounts. A setting that is [Secret] has no flag that
// works: arguments show in process lists.
package settings

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// annotation marks flags that hold secrets.
const annotation = "lume_secret"

// ConfigFlag is the flag that names the YAML file; LUME_CONFIG is its variable.
const ConfigFlag = "config"

// Secret marks a flag whose value is refused as an argument.
func Secret(flags *pflag.FlagSet, name string) {
	if err := flags.SetAnnotation(name, annotation, []string{"true"}); err != nil {
		panic(err) // The flag was not registered: a mistake in this program.
	}
}

// IsSecret reports whether a flag was marked by [Secret].
func IsSecret(f *pflag.Flag) bool { return f.Annotations[annotation] != nil }

// Variable is the environment variable of a flag.
func Variable(flag string) string {
	return "LUME_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Key is the key of a flag in the YAML file.
func Key(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// Load sets every flag that was not given as an argument from the environment or the YAML file. It returns every
// problem at once.
func Load(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var problems []error
	file, err := readFile(flags, lookup)
	if err != nil {
		return err
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == ConfigFlag || f.Name == "help" {
			return
		}
		if f.Changed {
			if IsSecret(f) {
				problems = append(problems, fmt.Errorf("--%s is a secret: set %s, or %s_FILE with the name of a file, so that it does not show in process lists",
					f.Name, Variable(f.Name), Variable(f.Name)))
			}
			return
		}
		value, source, err := find(f.Name, lookup, file)
		if err == nil && source != "" {
			err = set(flags, f, value)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", source, err))
		}
	})
	for key, node := range file.values {
		if flags.Lookup(strings.ReplaceAll(key, "_", "-")) == nil || key == ConfigFlag {
			problems = append(problems, fmt.Errorf("%s:%d: there is no setting %s", file.path, node.Line, key))
		}
	}
	return errors.Join(problems...)
}

// set hides the value of a secret that does not parse.
func set(flags *pflag.FlagSet, f *pflag.Flag, value string) error {
	if err := flags.Set(f.Name, value); err != nil {
		if IsSecret(f) {
			return errors.New("the value is not valid")
		}
		return err
	}
	return nil
}

// find returns the value of a flag from the environment or the file, and where it stood; nowhere is an empty source.
func find(name string, lookup func(string) (string, bool), file file) (value, source string, err error) {
	variable := Variable(name)
	if value, ok := lookup(variable); ok {
		return value, variable, nil
	}
	if path, ok := lookup(variable + "_FILE"); ok {
		text, err := os.ReadFile(path)
		return strings.TrimRight(string(text), "\r\n"), variable + "_FILE", err
	}
	node, ok := file.values[Key(name)]
	if !ok {
		return "", "", nil
	}
	source = fmt.Sprintf("%s:%d: %s", file.path, node.Line, Key(name))
	switch node.Kind {
	case yaml.ScalarNode:
		return node.Value, source, nil
	case yaml.SequenceNode:
		items := make([]string, len(node.Content))
		for i, item := range node.Content {
			items[i] = item.Value
		}
		return strings.Join(items, ","), source, nil
	}
	return "", source, errors.New("must be a value or a list")
}

// file is a YAML file of settings.
type file struct {
	path   string
	values map[string]*yaml.Node
}

func readFile(flags *pflag.FlagSet, lookup func(string) (string, bool)) (file, error) {
	f := flags.Lookup(ConfigFlag)
	if f == nil {
		return file{}, nil
	}
	path := f.Value.String()
	if !f.Changed {
		path, _ = lookup(Variable(ConfigFlag))
	}
	if path == "" {
		return file{}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return file{}, err
	}
	values := map[string]*yaml.Node{}
	var nodes map[string]yaml.Node
	if err := yaml.Unmarshal(text, &nodes); err != nil {
		return file{}, fmt.Errorf("%s: %w", path, err)
	}
	for key, node := range nodes {
		values[key] = &node
	}
	return file{path: path, values: values}, nil
}
