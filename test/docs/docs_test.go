package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"buf.build/go/protoyaml"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
)

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(text)
}

func TestEveryFieldOfAFlowIsDocumentedInItsSection(t *testing.T) {
	t.Parallel()
	sections := map[string]string{}
	for _, part := range strings.Split(read(t, "docs/flow.md"), "\n## ")[1:] {
		title, text, _ := strings.Cut(part, "\n")
		sections[title] = text
	}
	messages := flowv1.File_lume_flow_v1_flow_proto.Messages()
	for i := range messages.Len() {
		message := messages.Get(i)
		section, ok := sections[string(message.Name())]
		require.True(t, ok, "docs/flow.md has no section %s", message.Name())
		for _, name := range fields(message) {
			require.Regexp(t, "(?m)^\\| .*`"+name+"`.* \\|", section, "docs/flow.md: section %s lacks %s", message.Name(), name)
		}
	}
}

func fields(m protoreflect.MessageDescriptor) []string {
	names := make([]string, m.Fields().Len())
	for i := range names {
		names[i] = string(m.Fields().Get(i).Name())
	}
	return names
}

func TestEveryFlowInTheDocumentationIsValid(t *testing.T) {
	t.Parallel()
	found := 0
	for _, path := range []string{"README.md", "docs/flow.md", "docs/api.md", "docs/operating.md"} {
		for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(read(t, path), -1) {
			valid(t, path, block[1], &flowv1.Flow{})
			found++
		}
	}
	for _, path := range []string{"examples/invoice_cleaner.yaml", "examples/two_targets.yaml"} {
		valid(t, path, read(t, path), &flowv1.Flow{})
	}
	require.GreaterOrEqual(t, found, 3)
}

func valid(t *testing.T, path, yaml string, msg proto.Message) {
	t.Helper()
	require.NoError(t, protoyaml.UnmarshalOptions{Path: path}.Unmarshal([]byte(yaml), msg))
	require.NoError(t, protovalidate.Validate(msg), path)
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

func TestLinksLeadToFiles(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md"} {
		pages = append(pages, filepath.Join(root, name))
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, l := range link.FindAllStringSubmatch(string(text), -1) {
			_, err := os.Stat(filepath.Join(filepath.Dir(page), l[1]))
			require.NoError(t, err, "%s links to %s", page, l[1])
		}
	}
}

var variable = regexp.MustCompile(`LUME_[A-Z_]*[A-Z]`)

// docs/settings.md is made from the commands, and a test of test/e2e compares it with them.
func TestEveryVariableThatIsNamedExists(t *testing.T) {
	t.Parallel()
	settings := read(t, "docs/settings.md")
	clients := []string{"LUME_SERVER", "LUME_API_KEY", "LUME_CA_FILE", "LUME_CONFIG", "LUME_STAGES", "LUME_RUNS"}
	pages, err := filepath.Glob(filepath.Join(root, "deploy", "systemd", "*.env"))
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	for _, page := range append(pages, filepath.Join(root, "docs", "operating.md"), filepath.Join(root, "docs", "api.md"), filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, name := range variable.FindAllString(string(text), -1) {
			if slices.Contains(clients, name) {
				continue
			}
			require.Regexp(t, "`"+strings.TrimSuffix(name, "_FILE")+"(_FILE)?`", settings, "%s names %s, which is no setting", page, name)
		}
	}
}
