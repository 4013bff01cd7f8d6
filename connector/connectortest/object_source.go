package connectortest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// objectSource is an object store whose links are confined to the folder in.
type objectSource struct {
	store   ObjectStore
	refused map[string][]string
}

// Open opens a link of its own.
func (h objectSource) Open(t *testing.T) connector.ObjectSource {
	t.Helper()
	return h.store.source(t, map[string]any{"prefix": "/in/"})
}

// Put writes an object into the folder and returns its URI.
func (h objectSource) Put(t *testing.T, name string, content []byte) string {
	t.Helper()
	h.store.Put(t, "in/"+name, string(content))
	return h.store.URI("in/" + name)
}

// ObjectSource runs the suite of object sources on links to the folder in. refused are paths that a store refuses beside those that
// all do, by the reason of the error.
func ObjectSource(t *testing.T, store ObjectStore, refused map[string][]string) {
	h := objectSource{store: store, refused: refused}
	for _, test := range []struct {
		name string
		run  func(*testing.T, objectSource)
	}{
		{"StatSaysSizeAndTag", statSaysSizeAndTag},
		{"RangesAreExact", rangesAreExact},
		{"AReadIsPinned", readIsPinned},
		{"AMissingObjectIsSaidToBeMissing", missingObject},
		{"PathsOutsideAreRefused", outsideIsRefused},
		{"OtherPathsAreRefusedByTheirReason", refusedPaths},
		{"ALargeObjectIsReadWhole", largeObject},
		{"AReadCanBeCutAndClosed", readIsCut},
		{"DiscoverPagesThroughEverything", discoverPages},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, h)
		})
	}
}

// read reads a range whole.
func read(ctx context.Context, src connector.ObjectSource, path, etag string, offset, length int64) ([]byte, error) {
	r, err := src.ReadRange(ctx, path, etag, offset, length)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	return content, err
}

func statSaysSizeAndTag(t *testing.T, h objectSource) {
	src := h.Open(t)
	for _, content := range []string{"", "x", "0123456789"} {
		path := h.Put(t, fmt.Sprintf("stat/%d.csv", len(content)), []byte(content))
		info, err := src.Stat(t.Context(), path)
		require.NoError(t, err)
		require.EqualValues(t, len(content), info.Size)
		require.NotEmpty(t, info.ETag)
		require.False(t, info.ModTime.IsZero())
		require.Equal(t, path, info.Path)
		again, err := h.Open(t).Stat(t.Context(), path)
		require.NoError(t, err)
		require.Equal(t, info.ETag, again.ETag, "a tag stays while the content does")
		got, err := read(t.Context(), src, path, info.ETag, 0, -1)
		require.NoError(t, err)
		require.Equal(t, content, string(got))
	}
}

func rangesAreExact(t *testing.T, h objectSource) {
	src, path := h.Open(t), h.Put(t, "ranges.csv", []byte("0123456789"))
	info, err := src.Stat(t.Context(), path)
	require.NoError(t, err)
	for _, tt := range []struct {
		offset, length int64
		want           string
	}{
		{0, -1, "0123456789"}, {3, -1, "3456789"}, {3, 2, "34"}, {0, 0, ""}, {8, 100, "89"}, {9, 1, "9"}, {10, -1, ""}, {11, 5, ""},
	} {
		for _, etag := range []string{"", info.ETag} {
			got, err := read(t.Context(), src, path, etag, tt.offset, tt.length)
			require.NoError(t, err)
			require.Equal(t, tt.want, string(got), "%d, %d", tt.offset, tt.length)
		}
	}
}

func readIsPinned(t *testing.T, h objectSource) {
	src, path := h.Open(t), h.Put(t, "pinned.csv", []byte("first content"))
	info, err := src.Stat(t.Context(), path)
	require.NoError(t, err)
	h.Put(t, "pinned.csv", []byte("second one, longer"))
	for range 2 {
		_, err = read(t.Context(), src, path, info.ETag, 0, -1)
		require.ErrorIs(t, err, connector.ErrChanged)
		_, err = read(t.Context(), h.Open(t), path, info.ETag, 5, 3)
		require.ErrorIs(t, err, connector.ErrChanged)
	}
	got, err := read(t.Context(), src, path, "", 0, -1)
	require.NoError(t, err)
	require.Equal(t, "second one, longer", string(got))
}

func missingObject(t *testing.T, h objectSource) {
	path := h.Put(t, "there.csv", []byte("x"))
	h.refuses(t, strings.TrimSuffix(path, "there.csv")+"not/there.csv", "SOURCE_OBJECT_NOT_FOUND", connector.KindNotFound)
}

func outsideIsRefused(t *testing.T, h objectSource) {
	h.Put(t, "inside.csv", []byte("x"))
	outside := append([]string{"", "in/inside.csv", "/in/inside.csv", "other:///in/inside.csv"}, h.refused["PATH_OUTSIDE_CONNECTOR"]...)
	for _, key := range []string{"outside.csv", "in2/outside.csv"} {
		h.store.Put(t, key, "x")
		outside = append(outside, h.store.URI(key))
	}
	for _, key := range []string{"in", "in/", "in/.", "in/..", "in/./inside.csv", "in/../outside.csv", "in/inside.csv/.."} {
		outside = append(outside, h.store.URI(key))
	}
	for _, path := range outside {
		h.refuses(t, path, "PATH_OUTSIDE_CONNECTOR", connector.KindPermission)
		// What is listed is what begins so: everything, or the folder itself.
		if path != "" && path != h.store.URI("in/") {
			_, _, err := h.Open(t).(connector.Discoverer).Discover(t.Context(), path, "", 10)
			require.Error(t, err, path)
		}
	}
}

func refusedPaths(t *testing.T, h objectSource) {
	h.Put(t, "inside.csv", []byte("x"))
	for _, path := range h.refused["INVALID_SOURCE_PATH"] {
		h.refuses(t, path, "INVALID_SOURCE_PATH", connector.KindInvalid)
	}
	for _, path := range h.refused["SOURCE_OBJECT_NOT_FOUND"] {
		h.refuses(t, path, "SOURCE_OBJECT_NOT_FOUND", connector.KindNotFound)
	}
}

// refuses requires that a path can be neither looked at nor read.
func (h objectSource) refuses(t *testing.T, path, reason string, kind connector.Kind) {
	t.Helper()
	src := h.Open(t)
	_, statErr := src.Stat(t.Context(), path)
	_, readErr := read(t.Context(), src, path, "", 0, -1)
	for _, err := range []error{statErr, readErr} {
		require.Error(t, err, path)
		coded := codedError(t, err)
		require.Equal(t, reason, coded.Reason, path)
		require.Equal(t, kind, coded.Kind, path)
		require.NotEmpty(t, coded.Next, path)
	}
}

func largeObject(t *testing.T, h objectSource) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 2<<20)
	copy(content[len(content)-4:], "tail")
	src, path := h.Open(t), h.Put(t, "large.bin", content)
	got, err := read(t.Context(), src, path, "", 0, -1)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
	got, err = read(t.Context(), src, path, "", int64(len(content))-4, -1)
	require.NoError(t, err)
	require.Equal(t, "tail", string(got))
}

func readIsCut(t *testing.T, h objectSource) {
	src, path := h.Open(t), h.Put(t, "cut.bin", bytes.Repeat([]byte("x"), 8<<20))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := src.ReadRange(ctx, path, "", 0, -1)
	require.NoError(t, err)
	_, err = io.ReadFull(r, make([]byte, 1000))
	require.NoError(t, err)
	cancel()
	_, err = io.Copy(io.Discard, r)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, r.Close())
	// A reader that is closed early gives its connection back; goleak of the package would find it.
	r, err = src.ReadRange(t.Context(), path, "", 0, -1)
	require.NoError(t, err)
	_, err = io.ReadFull(r, make([]byte, 1000))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	_, err = src.ReadRange(ctx, path, "", 0, -1)
	require.ErrorIs(t, err, context.Canceled)
}

// discoverPages lists a folder page by page: in the order of the keys, with paths that can be read, whatever a name holds.
func discoverPages(t *testing.T, h objectSource) {
	source := h.Open(t)
	discoverer, ok := source.(connector.Discoverer)
	require.True(t, ok)
	want, keys := map[string]int64{}, map[string]string{}
	for i, name := range []string{
		"a.csv", "b/1.csv", "b/2.csv", "b/c/3.csv", "b.csv", "with space/x y.csv", "100%.csv", "100%25.csv", "ä/日本🙂.csv", "ä/ö#?.csv", "plus+.csv",
		"b-c/4.csv", "quote'\"&<>.csv", "__0x2f__.csv", "semi;colon=:@$,.csv",
	} {
		path := h.Put(t, "discover/"+name, bytes.Repeat([]byte("x"), i+1))
		want[path], keys[path] = int64(i+1), name
		for at, c := range name {
			if c == '/' {
				keys[h.store.URI("in/discover/"+name[:at+1])] = name[:at+1]
			}
		}
	}
	folder := h.store.URI("in/discover/")
	for _, limit := range []int{1, 2, 3, 1000} {
		found := map[string]int64{}
		var walk func(prefix string)
		walk = func(prefix string) {
			last, cursor := "", ""
			for {
				items, next, err := discoverer.Discover(t.Context(), prefix, cursor, limit)
				require.NoError(t, err)
				require.LessOrEqual(t, len(items), limit)
				for _, item := range items {
					require.True(t, strings.HasPrefix(item.Path, prefix), item.Path)
					require.Greater(t, keys[item.Path], last, "%s is in its place", item.Path)
					last = keys[item.Path]
					if item.Kind == "prefix" {
						require.Negative(t, item.Size)
						walk(item.Path)
						continue
					}
					require.Equal(t, "object", item.Kind)
					_, twice := found[item.Path]
					require.False(t, twice, item.Path)
					found[item.Path] = item.Size
				}
				if cursor = next; cursor == "" {
					return
				}
			}
		}
		walk(folder)
		require.Equal(t, want, found)
	}
	for path, size := range want {
		content, err := read(t.Context(), source, path, "", 0, -1)
		require.NoError(t, err, path)
		require.Len(t, content, int(size), path)
	}
	items, next, err := discoverer.Discover(t.Context(), folder+"b", "", 10)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Len(t, items, 3, "b.csv, b-c/ and b/")
	items, next, err = discoverer.Discover(t.Context(), folder+"none", "", 10)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Empty(t, items)
}
