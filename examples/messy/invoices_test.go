package main

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheSameSeedWritesTheSameBytes(t *testing.T) {
	t.Parallel()
	first, counts := written(5_000, 7)
	again, _ := written(5_000, 7)
	other, _ := written(5_000, 8)
	require.Equal(t, first, again)
	require.NotEqual(t, first, other)
	require.Equal(t, counts.Read, counts.Malformed+counts.Filtered+counts.Rejected+counts.Mapped)
}

func TestEveryKindOfTroubleIsThere(t *testing.T) {
	t.Parallel()
	_, counts := written(20_000, 1)
	for _, f := range flaws {
		require.NotZero(t, counts.Flaws[f.name], f.name)
	}
	require.NotZero(t, counts.Flaws["duplicate number"])
}

func written(rows int, seed uint64) (string, truth) {
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	counts := write(w, rows, seed)
	_ = w.Flush()
	return out.String(), counts
}
