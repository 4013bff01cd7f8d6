package sqlserver

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	// sessionsQuery lists the sessions of loads: all that the login may see, which without VIEW SERVER STATE is its own alone.
	sessionsQuery = "SELECT [session_id], [program_name] FROM sys.dm_exec_sessions WHERE [program_name] LIKE N'lume/%'"

	evictPause    = 20 * time.Millisecond
	evictDeadline = 10 * time.Second
)

// notActive is the number of the error of a KILL whose session is gone.
const notActive = 6106

// mayNot reports whether an error says that the login has no right to see sessions or to end them.
func mayNot(err error) bool {
	return slices.ContainsFunc([]int32{229, 262, 297, 300, 6102}, func(number int32) bool { return hasNumber(err, number) })
}

// evict ends the sessions of a run's loads into a target that have a lower fence, and waits until they are gone. A worker that
// was stopped in the middle of a load holds its transaction, and with it the run's marker, until its session ends. It must not
// be called in a transaction. A login that may not see or end sessions waits for the marker instead.
func evict(ctx context.Context, s *session, runID, target string, before int64) error {
	prefix := sqlload.SessionPrefix(runID, target)
	for deadline := time.Now().Add(evictDeadline); ; {
		var earlier []int64
		err := s.each(ctx, sessionsQuery, nil, func(scan func(...any) error) error {
			var id int64
			var name string
			if err := scan(&id, &name); err != nil {
				return err
			}
			if fence, ok := sqlload.SessionFence(name, prefix); ok && fence < before {
				earlier = append(earlier, id)
			}
			return nil
		})
		if mayNot(err) {
			return nil
		}
		if err != nil {
			return coded(ctx, err)
		}
		for _, id := range earlier {
			err := s.exec(ctx, fmt.Sprintf("KILL %d", id))
			if mayNot(err) {
				return nil
			}
			if err != nil && !hasNumber(err, notActive) {
				return coded(ctx, err)
			}
		}
		// A session that stays, since it has much to roll back, is waited for at the marker.
		if len(earlier) == 0 || time.Now().After(deadline) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(evictPause):
		}
	}
}
