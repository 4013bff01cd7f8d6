package all_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/all"
)

var update = flag.Bool("update", false, "write docs/connectors")

const docs = "../../docs/connectors"

func TestDocumentationIsThatOfTheSpecs(t *testing.T) {
	t.Parallel()
	specs := all.Registry().Specs()
	pages := map[string]string{"README.md": all.Index(specs)}
	for _, spec := range specs {
		types, err := os.ReadFile(typesOf(spec))
		require.NoError(t, err)
		pages[spec.Type+".md"] = all.Page(spec, string(types))
	}
	if *update {
		require.NoError(t, os.MkdirAll(docs, 0o755))
	}
	for name, want := range pages {
		path := filepath.Join(docs, name)
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		}
		got, err := os.ReadFile(path)
		require.NoError(t, err, "run: go test ./connector/all -update")
		require.Equal(t, want, string(got), "%s is out of date; run: go test ./connector/all -update", name)
	}
	written, err := filepath.Glob(filepath.Join(docs, "*.md"))
	require.NoError(t, err)
	require.Len(t, written, len(pages), "a page has no connector")
}

// typesOf is the TYPES.md of a connector, whose folder is named as Go packages are: without underscores.
func typesOf(spec connector.Spec) string {
	return filepath.Join("..", strings.ReplaceAll(spec.Type, "_", ""), "TYPES.md")
}

func TestEveryConnectorHasTypesBesideItsCode(t *testing.T) {
	t.Parallel()
	for _, spec := range all.Registry().Specs() {
		require.FileExists(t, typesOf(spec))
	}
}

func TestWhatSaysWhereASystemIsIsAnAddress(t *testing.T) {
	t.Parallel()
	// A secret that stayed when one of these changes would be sent to whoever changed it.
	where := []string{
		"host", "port", "instance", "endpoint", "account", "region", "http_path", "sts_endpoint", "authority_host", "path", "root",
		// Without them, it is anybody in between to whom it is sent.
		"sslmode", "encrypt", "trust_server_certificate",
	}
	for _, spec := range all.Registry().Specs() {
		addresses := 0
		for _, f := range spec.Fields {
			require.Equal(t, slices.Contains(where, f.Name), f.Address, "%s.%s", spec.Type, f.Name)
			if f.Address {
				addresses++
			}
		}
		require.Positive(t, addresses, "%s is nowhere", spec.Type)
	}
}

func TestSpecsAreComplete(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, d := range all.Definitions() {
		spec := d.Spec
		require.Regexp(t, `^[a-z][a-z0-9_]*$`, spec.Type)
		require.False(t, seen[spec.Type])
		seen[spec.Type] = true
		require.NotNil(t, d.Open)
		require.NotEmpty(t, spec.Title)
		require.NotEmpty(t, spec.Doc)
		require.True(t, spec.Source || spec.Target)
		fields := map[string]bool{}
		for _, f := range spec.Fields {
			name := spec.Type + "." + f.Name
			require.Regexp(t, `^[a-z][a-z0-9_]*$`, f.Name, name)
			require.False(t, fields[f.Name], name)
			fields[f.Name] = true
			require.NotEmpty(t, f.Doc, name)
			require.Equal(t, strings.TrimSpace(f.Doc), f.Doc, name)
			require.Equal(t, f.Type == connector.Enum, len(f.Values) > 0, name)
			if f.Type == connector.Sensitive {
				require.Empty(t, f.Default, name)
				require.Empty(t, f.Example, name)
				require.False(t, f.Address, name)
			}
			if f.Default != "" && f.Type == connector.Enum {
				require.Contains(t, f.Values, f.Default, name)
			}
		}
	}
}
