package tdstest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"time"
)

// session is one connection of a client.
type session struct {
	server   *Server
	id       int64
	since    time.Time
	conn     net.Conn
	rw       io.ReadWriter
	ctx      context.Context
	packet   int
	app      string
	database *database
	sqlite   *sql.Conn

	// killed is true from KILL on, until the session has ended. The server's mutex guards it.
	killed bool

	xactAbort   bool
	noCount     bool
	lockTimeout time.Duration
	describing  bool // SET FMTONLY ON
	rows        int64
	bulk        *bulkCopy

	// transaction is the descriptor of the open transaction, or 0. It begins in SQLite with the first statement that needs
	// it: what is read before is what is committed.
	transaction uint64
	snapshot    bool
	started     bool
	locked      bool

	mu     sync.Mutex
	cancel context.CancelFunc
}

// request is a message with what ends its execution.
type request struct {
	message
	ctx    context.Context
	cancel context.CancelFunc
}

// run answers messages until the client goes. Attention interrupts the message before it, whether that runs or waits.
func (s *session) run() {
	requests := make(chan request)
	var reading sync.WaitGroup
	ctx, stop := context.WithCancel(s.ctx)
	reading.Go(func() {
		defer close(requests)
		defer s.interrupt()
		for {
			m, err := readMessage(s.rw)
			if err != nil {
				return
			}
			if m.kind == packetAttention {
				s.interrupt()
			}
			select {
			case requests <- s.expect(ctx, m):
			case <-ctx.Done():
				return
			}
		}
	})
	defer reading.Wait()
	defer s.conn.Close()
	defer stop()
	for r := range requests {
		err := s.answer(r.ctx, r.message)
		r.cancel()
		if err != nil {
			return
		}
	}
}

// expect makes a message the one that is interrupted.
func (s *session) expect(ctx context.Context, m message) request {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel = cancel
	return request{message: m, ctx: ctx, cancel: cancel}
}

// interrupt cancels the message that runs or waits.
func (s *session) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel()
	}
}

// errCut ends a session by order of a test.
var errCut = errors.New("the connection is cut")

// answer answers one message.
func (s *session) answer(ctx context.Context, m message) error {
	w := newWriter(s.rw, s.packet)
	r := &reader{data: m.data}
	var err error
	switch m.kind {
	case packetAttention:
		w.done(tokenDone, doneAttention, 0)
	case packetBatch:
		r.skipHeaders()
		err = s.batch(ctx, w, fromUCS2(r.data), nil, tokenDone)
		w.done(tokenDone, 0, 0)
	case packetRPC:
		r.skipHeaders()
		err = s.rpc(ctx, w, r)
		w.returnStatus(0)
		w.done(tokenDoneProc, 0, 0)
	case packetBulk:
		err = s.receive(ctx, w, r)
	case packetTransaction:
		r.skipHeaders()
		err = s.manage(ctx, w, r)
	default:
		err = fmt.Errorf("message of type %d", m.kind)
	}
	if err != nil {
		return err
	}
	if ctx.Err() != nil && s.xactAbort && m.kind != packetAttention {
		s.abort(w)
	}
	return w.finish()
}

// Procedures and transaction requests, by number.
const (
	procedureExecuteSQL = 10

	requestBegin    = 5
	requestCommit   = 7
	requestRollback = 8
	requestSave     = 9

	isolationSnapshot     = 5
	isolationSerializable = 4
)

// rpc runs sp_executesql.
func (s *session) rpc(ctx context.Context, w *writer, r *reader) error {
	if n := r.u16(); n != math.MaxUint16 {
		w.fail(&Error{Number: 2812, State: 62, Class: 16, Text: fmt.Sprintf("Could not find stored procedure '%s'.", fromUCS2(r.bytes(2*int(n))))})
		return nil
	}
	if id := r.u16(); id != procedureExecuteSQL {
		return fmt.Errorf("procedure %d", id)
	}
	r.u16()
	params := make(map[string]any)
	var statement string
	for i := 0; len(r.data) > 0; i++ {
		name := r.shortText()
		r.u8()
		t, err := readInfo(r)
		if err != nil {
			return err
		}
		v, err := t.readValue(r)
		if err != nil {
			return err
		}
		switch i {
		case 0:
			statement = fmt.Sprint(v)
		case 1:
			// The declarations say what the types said.
		default:
			params[strings.TrimPrefix(name, "@")] = v
		}
	}
	if r.err != nil {
		return r.err
	}
	return s.batch(ctx, w, statement, params, tokenDoneInProc)
}

// manage does a request to the transaction manager.
func (s *session) manage(ctx context.Context, w *writer, r *reader) error {
	kind := r.u16()
	names := map[uint16]string{requestBegin: "BEGIN", requestCommit: "COMMIT", requestRollback: "ROLLBACK", requestSave: "SAVE"}
	f := s.server.fault(names[kind])
	if f.Cut && !f.After {
		return errCut
	}
	var err error
	switch {
	case f.Error != nil:
		err = f.Error
	case kind == requestBegin:
		s.begin(w, r.u8())
	case kind == requestCommit:
		err = s.finish(w, "COMMIT", envCommit)
	case kind == requestRollback:
		err = s.finish(w, "ROLLBACK", envRollback)
	case kind == requestSave:
		err = s.save(ctx, r.shortText())
	default:
		return fmt.Errorf("transaction request %d", kind)
	}
	if f.Cut {
		return errCut
	}
	if err != nil {
		s.failed(w, err)
		w.done(tokenDone, doneError, 0)
		return nil
	}
	w.done(tokenDone, 0, 0)
	return nil
}

func (s *session) begin(w *writer, isolation byte) {
	s.server.mu.Lock()
	s.server.next++
	s.transaction = s.server.next
	s.server.mu.Unlock()
	s.snapshot = isolation == isolationSnapshot || isolation == isolationSerializable
	w.envTransaction(envBegin, s.transaction)
}

// finish ends the transaction by a statement of SQLite.
func (s *session) finish(w *writer, statement string, env byte) error {
	if s.transaction == 0 {
		return &Error{Number: 3902, State: 1, Class: 16, Text: "The " + statement + " TRANSACTION request has no corresponding BEGIN TRANSACTION."}
	}
	var err error
	if s.started {
		// It must end, whatever becomes of the client.
		_, err = s.sqlite.ExecContext(context.WithoutCancel(s.ctx), statement)
	}
	w.envTransaction(env, s.transaction)
	s.transaction, s.started, s.snapshot = 0, false, false
	s.unlock()
	return err
}

// abort rolls back what is open, and tells the client.
func (s *session) abort(w *writer) {
	if s.transaction != 0 {
		_ = s.finish(w, "ROLLBACK", envRollback)
	}
}

// end gives everything back. Temporary tables go with the session.
func (s *session) end() {
	ctx := context.WithoutCancel(s.ctx)
	if s.started {
		_, _ = s.sqlite.ExecContext(ctx, "ROLLBACK")
	}
	s.unlock()
	err := s.dropTemporary(ctx)
	if err != nil {
		// What cannot be cleaned is not used again.
		_ = s.sqlite.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = s.sqlite.Close()
}

func (s *session) dropTemporary(ctx context.Context) error {
	rows, err := s.sqlite.QueryContext(ctx, "SELECT 'DROP TABLE temp.`' || name || '`' FROM temp.sqlite_schema WHERE type = 'table'")
	if err != nil {
		return err
	}
	defer rows.Close()
	var drops []string
	for rows.Next() {
		var drop string
		if err := rows.Scan(&drop); err != nil {
			return err
		}
		drops = append(drops, drop)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, drop := range drops {
		if _, err := s.sqlite.ExecContext(ctx, drop); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) unlock() {
	if s.locked {
		s.locked = false
		<-s.database.lock
	}
}

// write takes the writer's lock of the database, and starts the transaction in SQLite if one is open. release must be
// called; it gives the lock back unless the transaction keeps it.
func (s *session) write(ctx context.Context) (release func(), err error) {
	if !s.locked {
		var timeout <-chan time.Time
		if s.lockTimeout >= 0 {
			timer := time.NewTimer(s.lockTimeout)
			defer timer.Stop()
			timeout = timer.C
		}
		s.server.waiting.Add(1)
		defer s.server.waiting.Add(-1)
		select {
		case s.database.lock <- struct{}{}:
			s.locked = true
		case <-timeout:
			return nil, &Error{Number: 1222, State: 51, Class: 16, Text: "Lock request time out period exceeded."}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if s.transaction == 0 {
		return s.unlock, nil
	}
	if !s.started {
		if _, err := s.sqlite.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
			return nil, err
		}
		s.started = true
	}
	return func() {}, nil
}

// read starts the transaction in SQLite if it must see one state.
func (s *session) read(ctx context.Context) error {
	if !s.snapshot || s.started {
		return nil
	}
	_, err := s.sqlite.ExecContext(ctx, "BEGIN")
	s.started = err == nil
	return err
}

func (s *session) save(ctx context.Context, name string) error {
	if s.transaction == 0 {
		return &Error{Number: 628, State: 0, Class: 16, Text: "Cannot issue SAVE TRANSACTION when there is no active transaction."}
	}
	if _, err := s.write(ctx); err != nil {
		return err
	}
	_, err := s.sqlite.ExecContext(ctx, "SAVEPOINT "+quoteName(name))
	return err
}

// failed sends an error. It returns true if the batch ends with it.
func (s *session) failed(w *writer, err error) bool {
	if errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "interrupted") {
		return true
	}
	list := serverErrors(err)
	for _, e := range list {
		w.fail(e)
	}
	if s.xactAbort {
		s.abort(w)
		return true
	}
	switch number := list[0].Number; {
	case number == 511, number == 515, number == 547, number == 1946, number == 2601, number == 2627:
		return false
	case number == 1205, number >= 50000:
		// In a trigger XACT_ABORT is on.
		s.abort(w)
	}
	return true
}
