package file_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/file"
)

// open opens a connector of a folder with an operator's root around it.
func open(t *testing.T, settings map[string]any, roots ...string) (connector.Connector, error) {
	t.Helper()
	registry := connector.NewRegistry(file.Definition())
	c, err := registry.Open(t.Context(), connector.Env{Roots: roots, Log: slog.New(slog.DiscardHandler)}, "file", settings, nil)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, c.Close()) })
	}
	return c, err
}

func source(t *testing.T) (src connector.ObjectSource, folder string) {
	t.Helper()
	folder = t.TempDir()
	c, err := open(t, map[string]any{"root": folder}, folder)
	require.NoError(t, err)
	return c.(connector.ObjectSource), folder
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func requireReason(t *testing.T, err error, reason string) *connector.Error {
	t.Helper()
	var coded *connector.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, reason, coded.Reason)
	return coded
}

func TestRootMustLieBelowARootOfTheOperator(t *testing.T) {
	t.Parallel()
	allowed := t.TempDir()
	outside := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(allowed, "in"), 0o750))
	require.NoError(t, os.Symlink(outside, filepath.Join(allowed, "link")))
	require.NoError(t, os.Symlink(filepath.Join("..", filepath.Base(outside)), filepath.Join(allowed, "up")))

	for name, tt := range map[string]struct {
		root   string
		roots  []string
		reason string
	}{
		"no roots":                     {root: allowed, reason: "ROOT_NOT_ALLOWED"},
		"empty root of the operator":   {root: allowed, roots: []string{""}, reason: "ROOT_NOT_ALLOWED"},
		"another folder":               {root: outside, roots: []string{allowed}, reason: "ROOT_NOT_ALLOWED"},
		"the parent":                   {root: filepath.Dir(allowed), roots: []string{allowed}, reason: "ROOT_NOT_ALLOWED"},
		"dots that lead out":           {root: allowed + "/in/../../" + filepath.Base(outside), roots: []string{allowed}, reason: "ROOT_NOT_ALLOWED"},
		"a folder with the same start": {root: allowed + "2", roots: []string{allowed}, reason: "ROOT_NOT_ALLOWED"},
		"a relative path":              {root: "in", roots: []string{allowed}, reason: "INVALID_CONNECTOR_SETTING"},
	} {
		_, err := open(t, map[string]any{"root": tt.root}, tt.roots...)
		require.Error(t, err, name)
		requireReason(t, err, tt.reason)
	}
	for _, link := range []string{"link", "up"} {
		c, err := open(t, map[string]any{"root": filepath.Join(allowed, link)}, allowed)
		require.NoError(t, err)
		checks := c.Check(t.Context())
		require.Equal(t, connector.CheckFailed, checks[0].Status)
		require.Equal(t, "ROOT_NOT_ALLOWED", checks[0].Err.Reason)
		require.Equal(t, connector.CheckSkipped, checks[1].Status)
	}
	c, err := open(t, map[string]any{"root": filepath.Join(allowed, "in")}, outside, allowed)
	require.NoError(t, err)
	require.Equal(t, connector.CheckPassed, c.Check(t.Context())[0].Status)
}

func TestPathsOutsideOfTheRootAreRefused(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	root := filepath.Join(parent, "root")
	write(t, filepath.Join(root, "in/a.csv"), "inside")
	write(t, filepath.Join(root, "other/b.csv"), "inside the root, outside of the prefix")
	write(t, filepath.Join(parent, "secret.csv"), "outside")
	write(t, filepath.Join(parent, "root2/c.csv"), "outside")
	require.NoError(t, os.Symlink("../../secret.csv", filepath.Join(root, "in/link.csv")))
	require.NoError(t, os.Symlink(filepath.Join(parent, "secret.csv"), filepath.Join(root, "in/absolute.csv")))
	require.NoError(t, os.Symlink("../..", filepath.Join(root, "in/up")))
	c, err := open(t, map[string]any{"root": root, "prefix": "in"}, parent)
	require.NoError(t, err)
	src := c.(connector.ObjectSource)

	for _, path := range []string{
		"file://" + parent + "/secret.csv",
		"file://" + root + "/in/../../secret.csv",
		"file://" + root + "/in/%2e%2e/%2e%2e/secret.csv",
		"file://" + root + "/in/..%2f..%2fsecret.csv",
		"file://" + root + "/in/..%5c..%5csecret.csv",
		"file://" + root + "/in/./a.csv",
		"file://" + root + "/in/a.csv%00.txt",
		"file://" + root + "/other/b.csv",
		"file://" + root + "/in",
		"file://" + root + "/in/",
		"file://" + root + "2/c.csv",
		"file://" + root + "/in/link.csv",
		"file://" + root + "/in/absolute.csv",
		"file://" + root + "/in/up/secret.csv",
		"file://example.com" + root + "/in/a.csv",
		"s3://bucket/in/a.csv",
		root + "/in/a.csv",
		"in/a.csv",
		"",
	} {
		_, err := src.Stat(t.Context(), path)
		require.Error(t, err, path)
		coded := requireReason(t, err, "PATH_OUTSIDE_CONNECTOR")
		require.Equal(t, connector.KindPermission, coded.Kind, path)
		_, err = src.ReadRange(t.Context(), path, "", 0, -1)
		require.Error(t, err, path)
		requireReason(t, err, "PATH_OUTSIDE_CONNECTOR")
	}
	// Look-alikes of dots and slashes are ordinary characters of a name, not a way out.
	for _, path := range []string{"/in/．．/secret.csv", "/in/‥/secret.csv", "/in/..∕secret.csv", "/in/%c0%ae%c0%ae/secret.csv"} {
		_, err := src.Stat(t.Context(), "file://"+root+path)
		requireReason(t, err, "SOURCE_OBJECT_NOT_FOUND")
	}
	_, err = src.Stat(t.Context(), "file://"+root+"/in/100%.csv")
	requireReason(t, err, "INVALID_SOURCE_PATH")
	_, err = src.Stat(t.Context(), "file://localhost"+root+"//in/a.csv")
	require.NoError(t, err)
}

func TestLinksInsideTheRootAreFollowed(t *testing.T) {
	t.Parallel()
	src, folder := source(t)
	write(t, filepath.Join(folder, "data/a.csv"), "hello")
	require.NoError(t, os.Symlink("data/a.csv", filepath.Join(folder, "latest.csv")))
	info, err := src.Stat(t.Context(), "file://"+folder+"/latest.csv")
	require.NoError(t, err)
	require.EqualValues(t, 5, info.Size)
}

func TestOnlyRegularFilesAreObjects(t *testing.T) {
	t.Parallel()
	src, folder := source(t)
	require.NoError(t, os.Mkdir(filepath.Join(folder, "folder"), 0o750))
	require.NoError(t, syscall.Mkfifo(filepath.Join(folder, "pipe"), 0o600))
	for _, name := range []string{"folder", "pipe", "missing", "missing/in/folders"} {
		_, err := src.ReadRange(t.Context(), "file://"+folder+"/"+name, "", 0, -1)
		requireReason(t, err, "SOURCE_OBJECT_NOT_FOUND")
	}
}

func TestAReadOfAPinnedFileDeliversOneContentOrFails(t *testing.T) {
	t.Parallel()
	src, folder := source(t)
	name := filepath.Join(folder, "a.csv")
	path := "file://" + name
	write(t, name, "0123456789")
	info, err := src.Stat(t.Context(), path)
	require.NoError(t, err)

	r, err := src.ReadRange(t.Context(), path, info.ETag, 2, -1)
	require.NoError(t, err)
	buf := make([]byte, 4)
	_, err = io.ReadFull(r, buf)
	require.NoError(t, err)
	require.Equal(t, "2345", string(buf))

	// The same size, another time.
	require.NoError(t, os.WriteFile(name, []byte("abcdefghij"), 0o600))
	require.NoError(t, os.Chtimes(name, time.Time{}, info.ModTime.Add(time.Second)))
	_, err = r.Read(buf)
	require.ErrorIs(t, err, connector.ErrChanged)
	require.NoError(t, r.Close())
	// A pinned read that starts after the change fails at its first byte at the latest.
	r, err = src.ReadRange(t.Context(), path, info.ETag, 0, -1)
	if err == nil {
		_, err = r.Read(buf)
	}
	require.ErrorIs(t, err, connector.ErrChanged)
}

func TestDiscoveredPathsCanBeReadWhateverTheNameHolds(t *testing.T) {
	t.Parallel()
	src, folder := source(t)
	for _, name := range []string{"a b.csv", "100%.csv", "ä/ö#?.csv", "new\nline.csv", "bad\xff.csv", "日本/🙂.csv"} {
		write(t, filepath.Join(folder, name), name)
	}
	write(t, filepath.Join(folder, ".lume-tmp-1234"), "unfinished")
	var walk func(prefix string) int
	walk = func(prefix string) (objects int) {
		cursor := ""
		for {
			items, next, err := src.(connector.Discoverer).Discover(t.Context(), prefix, cursor, 2)
			require.NoError(t, err)
			require.LessOrEqual(t, len(items), 2)
			for _, item := range items {
				u, err := url.Parse(item.Path)
				require.NoError(t, err)
				require.Equal(t, "file", u.Scheme)
				if item.Kind == "prefix" {
					objects += walk(item.Path)
					continue
				}
				r, err := src.ReadRange(t.Context(), item.Path, "", 0, -1)
				require.NoError(t, err)
				content, err := io.ReadAll(r)
				require.NoError(t, err)
				require.Contains(t, filepath.Join(folder, string(content)), filepath.Base(u.Path))
				require.NoError(t, r.Close())
				objects++
			}
			if next == "" {
				return objects
			}
			cursor = next
		}
	}
	require.Equal(t, 6, walk(""))
}

func TestFilesAreReplacedOnlyByThoseWhoSawTheLastOne(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	c, err := open(t, map[string]any{"root": folder}, folder)
	require.NoError(t, err)
	src := c.(connector.ObjectSource)
	// Every replace writes a pointer of the same size, as quickly as it can.
	const n = 40
	tags := map[string]bool{}
	for i := range n {
		replace(t, c, fmt.Sprintf("run_%04d", i))
		info, err := src.Stat(t.Context(), "file://"+folder+"/out/_current.json")
		require.NoError(t, err)
		require.False(t, tags[info.ETag], "a tag is never used again")
		tags[info.ETag] = true
	}
}

// replace loads one row in mode replace.
func replace(t *testing.T, c connector.Connector, run string) {
	t.Helper()
	connectortest.FillAs(t, c.(connector.Target), run, connector.TargetSpec{
		Name: "main", Prefix: "out", Mode: connector.Replace, Format: "csv",
		Columns: []connector.Column{{Name: "id", Type: connector.Type{Name: connector.TypeInt64}}},
	}, []connectortest.Row{connectortest.Values("1")})
}
