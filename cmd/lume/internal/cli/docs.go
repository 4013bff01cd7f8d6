package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lume-data/lume/cmd/internal/settings"
)

// docs writes the pages that are made from the commands themselves, so that they cannot say anything else.
func docs() *cobra.Command {
	return &cobra.Command{
		Use: "docs FOLDER", Short: "Write cli.md and settings.md", Args: cobra.ExactArgs(1), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			for name, text := range map[string][]byte{
				"cli.md": cliPage(cmd.Root()), "settings.md": settingsPage(cmd.Root()),
			} {
				if err := os.WriteFile(filepath.Join(args[0], name), text, 0o644); err != nil { //nolint:gosec // A page is for everybody.
					return err
				}
			}
			return nil
		},
	}
}

// cliPage is the reference of every command.
func cliPage(root *cobra.Command) []byte {
	var out bytes.Buffer
	fmt.Fprint(&out, "# The command line\n\nMade by `make generate` from the commands themselves.\n\n",
		"Commands find control and its key by flags, then by `LUME_SERVER` and `LUME_API_KEY`, then in the data folder of `lume up`\n",
		"(`--data`, `LUME_DATA`, default `~/.lume`). `-o json` and `-o yaml` print the API's own messages; `-o jsonl` one message per\n",
		"line. Errors go to standard error with what to do next; with `-o json` as one JSON object.\n\n", exitCodes, "\n")
	describe(&out, root)
	return out.Bytes()
}

func describe(out *bytes.Buffer, cmd *cobra.Command) {
	if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" && cmd.HasParent() && !cmd.Parent().HasParent() {
		return
	}
	if cmd.HasParent() {
		fmt.Fprintf(out, "\n## %s\n\n%s.\n", cmd.CommandPath(), strings.TrimSuffix(cmd.Short, "."))
		if cmd.Long != "" {
			fmt.Fprintf(out, "\n```text\n%s\n```\n", cmd.Long)
		}
		if cmd.Runnable() && !cmd.HasSubCommands() {
			fmt.Fprintf(out, "\n```text\n%s\n```\n", strings.TrimSpace(cmd.UseLine()))
		}
		if cmd.Example != "" {
			fmt.Fprintf(out, "\nExamples:\n\n```sh\n%s\n```\n", dedent(cmd.Example))
		}
		if flags := cmd.NonInheritedFlags(); flags.HasAvailableFlags() {
			fmt.Fprintf(out, "\nFlags:\n\n```text\n%s```\n", flags.FlagUsages())
		}
	}
	for _, c := range cmd.Commands() {
		describe(out, c)
	}
}

func dedent(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, "  ")
	}
	return strings.Join(lines, "\n")
}

// settingsPage is the table of every setting of every server.
func settingsPage(root *cobra.Command) []byte {
	var out bytes.Buffer
	fmt.Fprint(&out, "# Settings of the services\n\nMade by `make generate` from the commands themselves.\n\n",
		"Each setting is a flag, an environment variable, or a key of the YAML file named by `--config` or `LUME_CONFIG`, in this order;\n",
		"the variable with `_FILE` appended names a file that holds the value. Secrets are refused as flags.\n")
	for _, path := range [][]string{{"up"}, {"serve", "control"}, {"serve", "ingest"}, {"serve", "transform"}, {"serve", "egress"}} {
		cmd, _, err := root.Find(path)
		if err != nil || cmd == root {
			continue
		}
		fmt.Fprintf(&out, "\n## lume %s\n\n| flag | variable | default | meaning |\n| --- | --- | --- | --- |\n", strings.Join(path, " "))
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Name == "help" {
				return
			}
			name, value := "`--"+f.Name+"`", ""
			if settings.IsSecret(f) {
				name = "(secret)"
			}
			if f.DefValue != "" && f.DefValue != "[]" {
				value = "`" + f.DefValue + "`"
			}
			_, meaning := pflag.UnquoteUsage(f)
			fmt.Fprintf(&out, "| %s | `%s` | %s | %s |\n", name, settings.Variable(f.Name), value, strings.ReplaceAll(meaning, "|", `\|`))
		})
	}
	return out.Bytes()
}
