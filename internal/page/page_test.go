package page_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/page"
)

var key = []byte("0123456789abcdef0123456789abcdef")

func TestATokenWorksOnlyWithItsFiltersAndKey(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cursor := rapid.StringN(1, 40, 200).Draw(t, "cursor")
		filters := rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "filters")
		args := make([]any, len(filters))
		for i, f := range filters {
			args[i] = f
		}
		token := page.Encode(key, cursor, args...)
		var got string
		require.NoError(t, page.Decode(key, token, &got, args...))
		require.Equal(t, cursor, got)
		require.Error(t, page.Decode(key, token, &got, append(args, "more")...))
		require.Error(t, page.Decode([]byte("other"), token, &got, args...))
		require.Error(t, page.Decode(key, token+"\n", &got, args...))
	})
}

func TestTheEndAndTheStartAreEmpty(t *testing.T) {
	t.Parallel()
	require.Empty(t, page.Encode(key, ""))
	cursor := "unchanged"
	require.NoError(t, page.Decode(key, "", &cursor))
	require.Equal(t, "unchanged", cursor)
	require.Equal(t, page.DefaultSize, page.Size(0))
	require.Equal(t, 7, page.Size(7))
	require.Equal(t, page.MaxSize, page.Size(1<<30))
}

func FuzzDecode(f *testing.F) {
	f.Add(page.Encode(key, "cursor", "filter"))
	f.Add(page.Encode(key, "cursor"))
	f.Add("AQ")
	f.Add("!")
	f.Fuzz(func(t *testing.T, token string) {
		var cursor string
		err := page.Decode(key, token, &cursor, "filter")
		if err == nil {
			if token != "" && page.Encode(key, cursor, "filter") != token {
				t.Fatalf("accepted %q, which is not what was given out", token)
			}
			return
		}
		if e := fault.From(err); e.Code != codes.InvalidArgument || e.Reason != "INVALID_PAGE_TOKEN" {
			t.Fatalf("%q: %v", token, err)
		}
	})
}
