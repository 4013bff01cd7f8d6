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
		connectortest.RequireReason(t, err, tt.reason)
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

func TestPathsMayNameThisMachineAndRepeatSlashes(t *testing.T) {
	t.Parallel()
	src, folder := source(t)
	write(t, filepath.Join(folder, "in/a.csv"), "hello")
	info, err := src.Stat(t.Context(), "file://localhost"+folder+"//in//a.csv")
	require.NoError(t, err)
	require.Equal(t, "file://"+folder+"/in/a.csv", info.Path)
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

func TestLinksOutOfTheRootAreNotFollowed(t *testing.T) {
	t.Parallel()
	src, folder := source(t)
	secret := filepath.Join(t.TempDir(), "secret.csv")
	write(t, secret, "outside")
	relative, err := filepath.Rel(folder, secret)
	require.NoError(t, err)
	for name, to := range map[string]string{"relative.csv": relative, "absolute.csv": secret, "up": ".."} {
		require.NoError(t, os.Symlink(to, filepath.Join(folder, name)))
	}
	for _, key := range []string{"relative.csv", "absolute.csv", "up/" + filepath.Base(folder) + "/relative.csv"} {
		_, err := src.Stat(t.Context(), "file://"+folder+"/"+key)
		connectortest.RequireReason(t, err, "PATH_OUTSIDE_CONNECTOR")
		_, err = src.ReadRange(t.Context(), "file://"+folder+"/"+key, "", 0, -1)
		connectortest.RequireReason(t, err, "PATH_OUTSIDE_CONNECTOR")
	}
	items, _, err := src.(connector.Discoverer).Discover(t.Context(), "", "", 10)
	require.NoError(t, err)
	require.Empty(t, items, "what cannot be read is not listed")
}

func TestOnlyRegularFilesAreObjects(t *testing.T) {
	t.Parallel()
	src, folder := source(t)
	require.NoError(t, os.Mkdir(filepath.Join(folder, "folder"), 0o750))
	require.NoError(t, syscall.Mkfifo(filepath.Join(folder, "pipe"), 0o600))
	for _, name := range []string{"folder", "pipe", "missing", "missing/in/folders"} {
		_, err := src.ReadRange(t.Context(), "file://"+folder+"/"+name, "", 0, -1)
		connectortest.RequireReason(t, err, "SOURCE_OBJECT_NOT_FOUND")
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

// The suite has the other names: these are ones that other stores do not have.
func TestDiscoveredPathsCanBeReadWhateverTheNameHolds(t *testing.T) {
	t.Parallel()
	src, folder := source(t)
	for _, name := range []string{"bad\xff.csv", "new\nline.csv"} {
		write(t, filepath.Join(folder, name), name)
	}
	write(t, filepath.Join(folder, unfinished+"1234"), "unfinished")
	items, _, err := src.(connector.Discoverer).Discover(t.Context(), "", "", 10)
	require.NoError(t, err)
	require.Len(t, items, 2)
	for i, name := range []string{"bad\xff.csv", "new\nline.csv"} {
		u, err := url.Parse(items[i].Path)
		require.NoError(t, err)
		require.Equal(t, filepath.Join(folder, name), u.Path)
		r, err := src.ReadRange(t.Context(), items[i].Path, "", 0, -1)
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, name, string(content))
		require.NoError(t, r.Close())
	}
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
