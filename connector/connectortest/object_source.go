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

// ObjectSourceHarness says how to reach an object store as a source.
type ObjectSourceHarness struct {
	// Open opens a link of its own. Its confinement is the same for all.
	Open func(t *testing.T) connector.ObjectSource
	// Put writes an object by another way than the connector's and returns its URI. The name has slashes and is inside of
	// the connector's confinement.
	Put func(t *testing.T, name string, content []byte) string
	// Outside are URIs that the connector must refuse, of objects that exist where possible.
	Outside []string
}

// ObjectSource runs the suite of object sources.
func ObjectSource(t *testing.T, h ObjectSourceHarness) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, ObjectSourceHarness)
	}{
		{"StatSaysSizeAndTag", statSaysSizeAndTag},
		{"RangesAreExact", rangesAreExact},
		{"AReadIsPinned", readIsPinned},
		{"AMissingObjectIsSaidToBeMissing", missingObject},
		{"PathsOutsideAreRefused", outsideIsRefused},
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

func statSaysSizeAndTag(t *testing.T, h ObjectSourceHarness) {
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

func rangesAreExact(t *testing.T, h ObjectSourceHarness) {
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

func readIsPinned(t *testing.T, h ObjectSourceHarness) {
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

func missingObject(t *testing.T, h ObjectSourceHarness) {
	src, path := h.Open(t), h.Put(t, "there.csv", []byte("x"))
	missing := strings.TrimSuffix(path, "there.csv") + "not/there.csv"
	_, statErr := src.Stat(t.Context(), missing)
	_, readErr := read(t.Context(), src, missing, "", 0, -1)
	for _, err := range []error{statErr, readErr} {
		coded := codedError(t, err)
		require.Equal(t, "SOURCE_OBJECT_NOT_FOUND", coded.Reason)
		require.Equal(t, connector.KindNotFound, coded.Kind)
		require.NotEmpty(t, coded.Next)
	}
}

func outsideIsRefused(t *testing.T, h ObjectSourceHarness) {
	src := h.Open(t)
	require.NotEmpty(t, h.Outside)
	for _, path := range h.Outside {
		_, statErr := src.Stat(t.Context(), path)
		_, readErr := read(t.Context(), src, path, "", 0, -1)
		for _, err := range []error{statErr, readErr} {
			coded := codedError(t, err)
			require.Equal(t, "PATH_OUTSIDE_CONNECTOR", coded.Reason, path)
			require.Equal(t, connector.KindPermission, coded.Kind, path)
		}
	}
}

func largeObject(t *testing.T, h ObjectSourceHarness) {
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

func readIsCut(t *testing.T, h ObjectSourceHarness) {
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

func discoverPages(t *testing.T, h ObjectSourceHarness) {
	discoverer, ok := h.Open(t).(connector.Discoverer)
	require.True(t, ok)
	want := map[string]int64{}
	var folder string
	for i, name := range []string{
		"a.csv", "b/1.csv", "b/2.csv", "b/c/3.csv", "b.csv", "with space/x y.csv", "100%.csv", "ä/日本🙂.csv", "plus+.csv", "b-c/4.csv", "quote'\"&<>.csv",
	} {
		path := h.Put(t, "discover/"+name, bytes.Repeat([]byte("x"), i+1))
		want[path] = int64(i + 1)
		if i == 0 {
			folder = strings.TrimSuffix(path, "a.csv")
		}
	}
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
					require.NotEqual(t, last, item.Path)
					last = item.Path
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
	items, next, err := discoverer.Discover(t.Context(), folder+"b", "", 10)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Len(t, items, 3, "b.csv, b-c/ and b/")
	items, next, err = discoverer.Discover(t.Context(), folder+"none", "", 10)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Empty(t, items)
}
