package arch_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/lume-data/lume"

// pkg is what `go list` tells about a package.
type pkg struct {
	ImportPath string
	Standard   bool
	CgoFiles   []string
	Imports    []string
	Deps       []string
}

func TestImportsKeepToTheRules(t *testing.T) {
	t.Parallel()
	packages := list(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			from, but, deny, allow := compile(t, r.from), compile(t, r.but), compile(t, r.deny), compile(t, r.allow)
			for _, p := range packages {
				name, ours := relative(p.ImportPath)
				if !ours || !from.MatchString(name) || but.MatchString(name) {
					continue
				}
				imports := p.Imports
				if r.deep {
					imports = p.Deps
				}
				for _, i := range imports {
					short := label(packages, i)
					if deny.MatchString(short) && !allow.MatchString(short) {
						t.Errorf("%s imports %s", name, short)
					}
				}
			}
		})
	}
}

func TestSiblingsNeverImportEachOther(t *testing.T) {
	t.Parallel()
	packages := list(t)
	for _, folder := range siblings {
		child := regexp.MustCompile(`^` + folder + `/([a-z0-9]+)(/.*)?$`)
		for _, p := range packages {
			name, ours := relative(p.ImportPath)
			mine := child.FindStringSubmatch(name)
			if !ours || mine == nil || slices.Contains([]string{"all", "internal", "connectortest"}, mine[1]) {
				continue
			}
			for _, i := range p.Imports {
				other, _ := relative(i)
				theirs := child.FindStringSubmatch(other)
				if theirs != nil && theirs[1] != mine[1] && theirs[1] != "internal" {
					t.Errorf("%s imports %s", name, other)
				}
			}
		}
	}
}

func TestOnlyTransformLinksCgo(t *testing.T) {
	t.Parallel()
	packages := list(t)
	for _, name := range pure {
		p, ok := packages[module+"/"+name]
		require.True(t, ok, "package %s does not exist", name)
		for _, dep := range p.Deps {
			if d, known := packages[dep]; known && !d.Standard && len(d.CgoFiles) > 0 {
				t.Errorf("%s links %s, which is cgo", name, dep)
			}
		}
	}
}

func TestRulesMatchPackagesThatExist(t *testing.T) {
	t.Parallel()
	packages := list(t)
	for _, r := range rules {
		from := compile(t, r.from)
		found := slices.ContainsFunc(keys(packages), func(path string) bool {
			name, ours := relative(path)
			return ours && from.MatchString(name)
		})
		require.True(t, found, "rule %q is about no package at all", r.name)
	}
}

// list returns every package of the module and everything that it links, by import path.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	touch(t)
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,CgoFiles,Imports,Deps", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("go list: %s", exit.Stderr)
	}
	require.NoError(t, err)
	packages := map[string]pkg{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		require.NoError(t, err)
		packages[p.ImportPath] = p
	}
}

// touch reads every Go file of the module, so that a cached result of this test does not outlive a change of one.
func touch(t *testing.T) {
	t.Helper()
	require.NoError(t, filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".go" {
			_, err = os.ReadFile(path)
		}
		return err
	}))
}

// relative returns a path inside the module without the module's own, and whether it is inside.
func relative(path string) (string, bool) {
	name, ours := strings.CutPrefix(path, module+"/")
	return name, ours
}

// label returns a path as rules write it.
func label(packages map[string]pkg, path string) string {
	if name, ours := relative(path); ours {
		return name
	}
	if packages[path].Standard {
		return "std:" + path
	}
	return path
}

// compile returns the pattern, anchored; an empty one matches nothing.
func compile(t *testing.T, pattern string) *regexp.Regexp {
	t.Helper()
	if pattern == "" {
		pattern = `[^\s\S]`
	}
	re, err := regexp.Compile(`^(?:` + pattern + `)$`)
	require.NoError(t, err)
	return re
}

func keys(packages map[string]pkg) []string {
	names := make([]string, 0, len(packages))
	for name := range packages {
		names = append(names, name)
	}
	return names
}
