package all

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/lume-data/lume/connector"
)

// Page returns the documentation of a kind of connector in Markdown, made from its spec. types is the connector's TYPES.md;
// it may be empty.
func Page(spec connector.Spec, types string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- Generated from the connector's spec and its TYPES.md: `go test ./connector/all -update`. Do not edit. -->\n\n")
	fmt.Fprintf(&b, "# %s\n\nType `%s`: %s.\n\n%s\n\n", spec.Title, spec.Type, roles(spec), spec.Doc)
	b.WriteString("## Settings\n\n| setting | type | default | meaning |\n| --- | --- | --- | --- |\n")
	for _, f := range spec.Fields {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, fieldType(f), fallback(f), cell(fieldDoc(f)))
	}
	b.WriteString("\nSecrets are sealed when they are stored and never shown again. Settings marked with ◆ say where the system is: changing one " +
		"of them clears the secrets that are not sent with the change.\n")
	fmt.Fprintf(&b, "\n## Example\n\n```yaml\n%s```\n\n    lume connectors apply -f my-%s.yaml\n    lume connectors test my-%s\n",
		example(spec), dashed(spec.Type), dashed(spec.Type))
	if types != "" {
		b.WriteString("\n" + strings.TrimSpace(deeper(types)) + "\n")
	}
	return b.String()
}

// Index returns the page that lists all kinds of connector.
func Index(specs []connector.Spec) string {
	var b strings.Builder
	b.WriteString("<!-- Generated: `go test ./connector/all -update`. Do not edit. -->\n\n# Connectors\n\n" +
		"| type | system | source | target |\n| --- | --- | --- | --- |\n")
	for _, s := range specs {
		fmt.Fprintf(&b, "| [`%s`](%s.md) | %s | %s | %s |\n", s.Type, s.Type, s.Title,
			mark(s.Source, s.ObjectStore, "objects", "rows of a query"), mark(s.Target, s.ObjectStore, "a prefix", "a table"))
	}
	return b.String()
}

func mark(is, object bool, ofObject, ofRows string) string {
	switch {
	case !is:
		return ""
	case object:
		return ofObject
	}
	return ofRows
}

func roles(spec connector.Spec) string {
	switch {
	case spec.Source && spec.Target:
		return "a source and a target"
	case spec.Source:
		return "a source"
	}
	return "a target"
}

func fieldType(f connector.Field) string {
	text := string(f.Type)
	if f.Type == connector.Enum {
		text = "`" + strings.Join(f.Values, "`, `") + "`"
	}
	if f.Required {
		text += ", required"
	}
	if f.Address {
		text += " ◆"
	}
	return text
}

func fallback(f connector.Field) string {
	if f.Default == "" {
		return ""
	}
	return "`" + f.Default + "`"
}

func fieldDoc(f connector.Field) string {
	if f.Example == "" {
		return f.Doc
	}
	return f.Doc + " Example: `" + f.Example + "`."
}

func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\n", " "), "|", `\|`)
}

// example is a connector file of the settings that most users need: the required ones, those with an example that do not
// say where the system is, and the first secret.
func example(spec connector.Spec) string {
	var settings, secret strings.Builder
	for _, f := range spec.Fields {
		switch {
		case f.Type == connector.Sensitive && secret.Len() == 0:
			fmt.Fprintf(&secret, "secrets:\n  %s: \"${env:%s}\"\n", f.Name, strings.ToUpper(spec.Type+"_"+f.Name))
		case f.Example != "" && (f.Required || !f.Address):
			fmt.Fprintf(&settings, "  %s: %q\n", f.Name, f.Example)
		case f.Required && f.Default != "":
			fmt.Fprintf(&settings, "  %s: %s\n", f.Name, f.Default)
		}
	}
	return fmt.Sprintf("name: my-%s\ntype: %s\nsettings:\n%s%s", dashed(spec.Type), spec.Type, settings.String(), secret.String())
}

func dashed(typ string) string { return strings.ReplaceAll(typ, "_", "-") }

// otherTypes is a link to the TYPES.md of another connector.
var otherTypes = regexp.MustCompile(`\]\(\.\./([a-z0-9_]+)/TYPES\.md\)`)

// deeper moves the headings of a page one level down, and its links to where the pages are.
func deeper(markdown string) string {
	lines := strings.Split(otherTypes.ReplaceAllString(markdown, "]($1.md)"), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "#") {
			lines[i] = "#" + line
		}
	}
	return strings.Join(lines, "\n")
}
