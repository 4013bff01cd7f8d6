package postgres

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/store/internal/sqlstore"
)

// errUnexpectedEOF is what a connection that the server cut returns.
var errUnexpectedEOF = io.ErrUnexpectedEOF

// reconnect is the pause before a lost listener connects again.
const reconnect = time.Second

// listener hears what other control processes commit.
type listener struct {
	config *pgx.ConnConfig
	// self marks this process's own notices, which it has told its observers already.
	self   string
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}
}

func (l *listener) start(s *sqlstore.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	go func() {
		defer close(l.done)
		for {
			err := l.listen(ctx, s)
			if ctx.Err() != nil {
				return
			}
			l.log.WarnContext(ctx, "control lost its listener and polls until it has a new one", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(reconnect):
			}
		}
	}()
}

func (l *listener) stop() {
	l.cancel()
	<-l.done
}

// listen hands on notices until ctx ends or the connection is lost.
func (l *listener) listen(ctx context.Context, s *sqlstore.Store) error {
	conn, err := pgx.ConnectConfig(ctx, l.config.Copy())
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(closing) // the process or the connection is going away
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	// Something may have been committed while nobody listened.
	s.Dispatch(store.Notice{Outbox: true})
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		from, payload, _ := strings.Cut(n.Payload, " ")
		if from != l.self {
			s.Receive(payload)
		}
	}
}
