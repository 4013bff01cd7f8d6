package loadtest

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// Streaming says how a database is asked for long results.
type Streaming struct {
	Open Opener
	// Series writes a query of n rows: n counts from 1, and v is a text of so many characters.
	Series func(n, width int) string
	// Sleep is a query whose first row takes a minute. SleepLater is one of 30,000 rows, of which each beyond the 20,000th does.
	Sleep, SleepLater string
}

// Run runs the tests of long results.
func (s Streaming) Run(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"OneSnapshotIsSeenAndLittleHeld": s.snapshot, "AnEarlyCloseLeavesNoSession": s.earlyClose,
		"ACancelledReadEnds": s.cancelled, "AReadThatIsCutIsNeverTheEnd": s.killed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

func (s Streaming) snapshot(t *testing.T) {
	db := s.Open(t)
	db.Exec("CREATE TABLE t AS " + s.Series(50_000, 200))
	stream, err := db.Link.Query(t.Context(), "SELECT n, v FROM t ORDER BY n", "", false)
	require.NoError(t, err)
	defer stream.Close()
	first, err := stream.Next(t.Context())
	require.NoError(t, err)
	require.LessOrEqual(t, first.NumRows(), int64(8192))
	db.Exec("DELETE FROM t; INSERT INTO t VALUES (0, '')")
	rows := first.NumRows()
	for {
		batch, err := stream.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		rows += batch.NumRows()
	}
	require.EqualValues(t, 50_000, rows)
}

func (s Streaming) earlyClose(t *testing.T) {
	db := s.Open(t)
	stream, err := db.Link.Query(t.Context(), s.Series(10_000_000, 1000), "", false)
	require.NoError(t, err)
	_, err = stream.Next(t.Context())
	require.NoError(t, err)
	started := time.Now()
	require.NoError(t, stream.Close())
	require.Less(t, time.Since(started), 10*time.Second)
	NoSessions(t, db.Sessions)
}

func (s Streaming) cancelled(t *testing.T) {
	db := s.Open(t)
	started := time.Now()
	soon := func() context.Context {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		return ctx
	}
	stream, err := db.Link.Query(soon(), s.Sleep, "", false)
	if err == nil {
		_, err = stream.Next(t.Context())
		require.NoError(t, stream.Close())
	}
	require.ErrorIs(t, err, context.Canceled)
	stream, err = db.Link.Query(t.Context(), s.SleepLater, "", false)
	require.NoError(t, err)
	for ctx := soon(); err == nil; {
		_, err = stream.Next(ctx)
	}
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, stream.Close())
	require.Less(t, time.Since(started), 30*time.Second)
	NoSessions(t, db.Sessions)
}

func (s Streaming) killed(t *testing.T) {
	db := s.Open(t)
	stream, err := db.Link.Query(t.Context(), s.Series(1_000_000, 1000), "", false)
	require.NoError(t, err)
	_, err = stream.Next(t.Context())
	require.NoError(t, err)
	db.Kill()
	for err == nil {
		_, err = stream.Next(t.Context())
	}
	require.Equal(t, connector.KindUnavailable, connector.AsError(err).Kind, "%v", err)
	require.NoError(t, stream.Close())
}

// NoSessions requires that no session is open, or will not be in a moment: servers notice an end later than their clients.
func NoSessions(t *testing.T, count func() int) {
	t.Helper()
	require.Eventually(t, func() bool { return count() == 0 }, 10*time.Second, 10*time.Millisecond)
}
