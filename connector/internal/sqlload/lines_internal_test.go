package sqlload

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLinesRememberWhichRowWasSent(t *testing.T) {
	t.Parallel()
	var l Lines
	rows := []int64{3, 4, 5, 9, 11, 12, 40}
	for _, row := range rows {
		l.Add(row)
	}
	for i, row := range rows {
		require.Equal(t, row, l.Row(int64(i)+1))
	}
	require.EqualValues(t, -1, l.Row(0))
	require.EqualValues(t, -1, l.Row(8))
	require.Len(t, l.runs, 4)
	l = Lines{}
	for row := range int64(maxRuns + 10) {
		l.Add(2 * row)
	}
	require.EqualValues(t, 2*(maxRuns-2), l.Row(maxRuns-1))
	require.EqualValues(t, -1, l.Row(maxRuns+5))
}
