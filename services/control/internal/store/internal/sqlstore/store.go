package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lume-data/lume/services/control/internal/store"
)

// Store implements [store.Store].
type Store struct {
	reader
	writer  Beginner
	onClose func() error

	mu        sync.Mutex
	observers map[int]func(store.Notice)
	nextID    int
}

var _ store.Store = (*Store)(nil)

// New makes a store of who reads and who writes. onClose is called once the writer is closed.
func New(readers Querier, writer Beginner, dialect *Dialect, onClose func() error) *Store {
	return &Store{
		reader:    reader{conn{q: readers, d: dialect}},
		writer:    writer,
		onClose:   onClose,
		observers: map[int]func(store.Notice){},
	}
}

// maxTries bounds how often a transaction is tried again after a conflict with others.
const maxTries = 8

// Update implements [store.Store].
func (s *Store) Update(ctx context.Context, fn func(tx store.Tx) error) error {
	for try := 1; ; try++ {
		err := s.update(ctx, fn)
		if err == nil || !errors.Is(err, ErrRetry) {
			return err
		}
		if try == maxTries {
			return fmt.Errorf("%w: after %d tries: %w", store.ErrUnavailable, try, err)
		}
		wait := time.Duration(rand.Int64N(int64(time.Millisecond) << try))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (s *Store) update(ctx context.Context, fn func(tx store.Tx) error) error {
	sqlTx, err := s.writer.Begin(ctx)
	if err != nil {
		return s.fail("begin", err)
	}
	// After a commit this does nothing; after a panic in fn it frees the connection.
	defer func() { _ = sqlTx.Rollback() }()
	t := &tx{reader: reader{conn{q: sqlTx, d: s.d}}}
	if err := fn(t); err != nil {
		return err
	}
	notice := t.notice()
	if s.d.Notify != nil && (notice.Outbox || len(notice.Runs) > 0) {
		if err := s.d.Notify(ctx, sqlTx, encodeNotice(notice)); err != nil {
			return s.fail("notify", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := sqlTx.Commit(); err != nil {
		return s.fail("commit", err)
	}
	s.Dispatch(notice)
	return nil
}

// maxNoticeRuns keeps a notice below the 8,000 bytes that PostgreSQL allows. Whoever watches one of the others polls.
const maxNoticeRuns = 100

func encodeNotice(n store.Notice) string {
	if len(n.Runs) > maxNoticeRuns {
		n.Runs = n.Runs[:maxNoticeRuns]
	}
	b, _ := json.Marshal(n) //nolint:errchkjson // Strings and a bool cannot fail.
	return string(b)
}

// Receive hands on a notice that another process sent with Dialect.Notify.
func (s *Store) Receive(payload string) {
	var n store.Notice
	if json.Unmarshal([]byte(payload), &n) == nil {
		s.Dispatch(n)
	}
}

// Dispatch tells the observers.
func (s *Store) Dispatch(n store.Notice) {
	if !n.Outbox && len(n.Runs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fn := range s.observers {
		fn(n)
	}
}

// Observe implements [store.Store].
func (s *Store) Observe(fn func(store.Notice)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.nextID
	s.nextID++
	s.observers[id] = fn
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.observers, id)
	}
}

// Ping implements [store.Store].
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return s.get(ctx, "ping", "SELECT 1", nil, &one)
}

// Close implements [store.Store].
func (s *Store) Close() error {
	return errors.Join(s.writer.Close(), s.onClose())
}

// AcquireLease implements [store.Leases].
func (s *Store) AcquireLease(ctx context.Context, name, holder string, ttl time.Duration) (bool, error) {
	var got bool
	err := s.Update(ctx, func(stx store.Tx) error {
		t := stx.(*tx)
		now, err := t.Now(ctx)
		if err != nil {
			return err
		}
		n, err := t.exec(ctx, "acquire lease", `
			INSERT INTO leases (name, holder, until_time) VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_time = excluded.until_time
			WHERE leases.holder = excluded.holder OR leases.until_time <= ?`,
			name, holder, micros(now.Add(ttl)), micros(now))
		got = n == 1
		return err
	})
	return got && err == nil, err
}

// ReleaseLease implements [store.Leases].
func (s *Store) ReleaseLease(ctx context.Context, name, holder string) error {
	return s.Update(ctx, func(stx store.Tx) error {
		_, err := stx.(*tx).exec(ctx, "release lease", "DELETE FROM leases WHERE name = ? AND holder = ?", name, holder)
		return err
	})
}
