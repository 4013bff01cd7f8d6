package sqlserver

import (
	"context"
	"fmt"
	"time"

	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	// sessionsQuery lists the sessions of loads into this database: all that the login may see, which without VIEW SERVER STATE
	// is its own alone. Runs of other databases are none of this one's, whatever they are called.
	sessionsQuery = "SELECT [session_id], [login_time], [program_name] FROM sys.dm_exec_sessions WHERE [program_name] LIKE N'lume/%' AND [database_id] = DB_ID()"

	evictPause    = 20 * time.Millisecond
	evictDeadline = 10 * time.Second
)

// isEnding reports whether an error of KILL says that the session is gone, or that somebody else has ended it.
func isEnding(err error) bool { return hasNumber(err, 6101, 6106, 6120) }

// mayNot reports whether an error says that the login has no right to see sessions or to end them.
func mayNot(err error) bool {
	return hasNumber(err, 229, 262, 297, 300, 6102)
}

// login is one session: the server gives the ids of those that are gone to others.
type login struct {
	id int64
	at time.Time
}

// evict ends the sessions of a run's loads into a target that have a lower fence, and waits until they are gone. A worker that
// was stopped in the middle of a load holds its transaction, and with it the run's marker, until its session ends. It must not
// be called in a transaction. A login that may not see or end sessions waits for the marker instead. A session that rolls back is
// not killed again: that would ask for a report, or end the session that has its id by now.
func evict(ctx context.Context, s *session, runID, target string, before int64) error {
	prefix := sqlload.SessionPrefix(runID, target)
	killed := map[login]bool{}
	for deadline := time.Now().Add(evictDeadline); ; {
		var earlier []login
		err := s.each(ctx, sessionsQuery, nil, func(scan func(...any) error) error {
			var one login
			var name string
			if err := scan(&one.id, &one.at, &name); err != nil {
				return err
			}
			if fence, ok := sqlload.SessionFence(name, prefix); ok && fence < before {
				earlier = append(earlier, one)
			}
			return nil
		})
		if mayNot(err) {
			return nil
		}
		if err != nil {
			return coded(ctx, err)
		}
		for _, one := range earlier {
			if killed[one] {
				continue
			}
			err := s.exec(ctx, fmt.Sprintf("KILL %d", one.id))
			if mayNot(err) {
				return nil
			}
			if err != nil && !isEnding(err) {
				return coded(ctx, err)
			}
			killed[one] = true
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
