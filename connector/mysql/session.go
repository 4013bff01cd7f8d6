package mysql

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/lume-data/lume/connector"
)

const (
	// closeTimeout bounds the goodbye to a server that does not answer.
	closeTimeout = 5 * time.Second
	// lockTimeout is how long a named lock is waited for.
	lockTimeout = 30 * time.Second

	evictPause    = 20 * time.Millisecond
	evictDeadline = 10 * time.Second
)

// session is a connection that can be found by others. Not safe for concurrent use.
type session struct {
	*sql.Conn
	link *Connector
	// name is the lock that the session holds from its first to its last moment.
	name string
	// mariadb is false for MySQL.
	mariadb bool
	// maxPacket is the server's max_allowed_packet: no value that passes through a function of the server is longer.
	maxPacket int64
	// localInfile is true if the server takes LOAD DATA LOCAL.
	localInfile bool
	// killed is true once the server was told to end the session.
	killed bool
}

// connect opens a session that holds the lock of that name. It waits for the lock up to lockTimeout.
func (c *Connector) connect(ctx context.Context, name string) (*session, error) {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return nil, connectError(ctx, err)
	}
	s := &session{Conn: conn, link: c, name: name}
	var version string
	var locked sql.NullInt64
	err = conn.QueryRowContext(ctx, "SELECT VERSION(), @@max_allowed_packet, @@local_infile, GET_LOCK(?, ?)", name, int64(lockTimeout.Seconds())).
		Scan(&version, &s.maxPacket, &s.localInfile, &locked)
	if err == nil && locked.Int64 != 1 {
		err = lockBusy(name)
	}
	if err != nil {
		s.close(ctx)
		return nil, coded(ctx, err)
	}
	s.mariadb = strings.Contains(strings.ToLower(version), "mariadb")
	return s, nil
}

// anonymous is the name of a session that only itself has to find.
func anonymous() string {
	var token [16]byte
	_, _ = rand.Read(token[:]) // It never fails.
	return "lume/" + hex.EncodeToString(token[:])
}

// lockName is the name of a lock for a thing: at most 64 characters, whatever the thing is called.
func lockName(kind string, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "lume/" + kind + "/" + hex.EncodeToString(sum[:16])
}

func lockBusy(name string) error {
	return &connector.Error{Kind: connector.KindUnavailable, Reason: "LOCK_TIMEOUT", Message: "a lock was not free in time",
		Next: "see which session holds it: SELECT IS_USED_LOCK of its name", Meta: map[string]string{"lock": name}}
}

// lock takes a named lock for the rest of the session.
func (s *session) lock(ctx context.Context, name string) error {
	var locked sql.NullInt64
	if err := s.QueryRowContext(ctx, "SELECT GET_LOCK(?, ?)", name, int64(lockTimeout.Seconds())).Scan(&locked); err != nil {
		return coded(ctx, err)
	}
	if locked.Int64 != 1 {
		return lockBusy(name)
	}
	return nil
}

// exec runs a statement and returns how many rows it affected. Errors are the driver's.
func (s *session) exec(ctx context.Context, statement string, args ...any) (int64, error) {
	result, err := s.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// each calls f for every row of a query, after it has been scanned into dest.
func (s *session) each(ctx context.Context, query string, args, dest []any, f func() error) error {
	rows, err := s.QueryContext(ctx, query, args...)
	if err != nil {
		return coded(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return coded(ctx, err)
		}
		if err := f(); err != nil {
			return err
		}
	}
	return coded(ctx, rows.Err())
}

// alive reports whether the connection still is one.
func (s *session) alive() bool {
	ok := false
	err := s.Raw(func(conn any) error {
		v, is := conn.(driver.Validator)
		ok = is && v.IsValid()
		return nil
	})
	return err == nil && ok
}

// close ends the session, also after ctx has ended. A connection that was cut in the middle of a statement leaves the server
// working on it, so then the server is told by another one.
func (s *session) close(ctx context.Context) {
	alive := s.alive()
	_ = s.Close()
	if !alive {
		s.kill(ctx)
	}
}

// kill ends the session on the server, if it is still there, whatever its connection is doing. It goes on after ctx has ended.
func (s *session) kill(ctx context.Context) {
	if s.killed {
		return
	}
	s.killed = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = s.link.end(ctx, s.name)
}

// end ends whichever sessions hold these locks.
func (c *Connector) end(ctx context.Context, names ...string) error {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return connectError(ctx, err)
	}
	defer conn.Close()
	return evict(ctx, conn, names...)
}

// evict ends the sessions that hold these locks and waits until they are gone, so that none of them can commit any more, or
// has: the server frees a session's locks after its transaction has ended.
func evict(ctx context.Context, conn *sql.Conn, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	query := "SELECT " + strings.TrimSuffix(strings.Repeat("IS_USED_LOCK(?), ", len(names)), ", ")
	args, holders, dest := make([]any, len(names)), make([]sql.NullInt64, len(names)), make([]any, len(names))
	for i := range names {
		args[i], dest[i] = names[i], &holders[i]
	}
	for deadline := time.Now().Add(evictDeadline); ; {
		if err := conn.QueryRowContext(ctx, query, args...).Scan(dest...); err != nil {
			return coded(ctx, err)
		}
		held := false
		for _, holder := range holders {
			if !holder.Valid {
				continue
			}
			held = true
			if _, err := conn.ExecContext(ctx, fmt.Sprintf("KILL %d", holder.Int64)); err != nil {
				switch errorNumber(err) {
				case errNoSuchThread:
				case errKillDenied:
					// Somebody else's session: the marker tells who of us wins.
					return nil
				default:
					return coded(ctx, err)
				}
			}
		}
		// A session that stays is waited for at the marker.
		if !held || time.Now().After(deadline) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(evictPause):
		}
	}
}
