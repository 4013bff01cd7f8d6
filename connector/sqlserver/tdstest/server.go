package tdstest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // The databases of the server.
)

// The only login of a server.
const (
	User     = "sa"
	Password = "Lume-Test-1"
)

// Options of a server.
type Options struct {
	// Plain is true for a server that offers no TLS.
	Plain bool
	// NegativeSerial is true for a server whose certificate has a serial number below zero, as those can have that SQL Server makes
	// for itself.
	NegativeSerial bool
	// NoCount is true for a server whose sessions begin with NOCOUNT ON, as its option for users can say.
	NoCount bool
	// Denied are permissions that HAS_PERMS_BY_NAME says no one has. Statements need none.
	Denied []string
}

// Server is a running server. It has the database `master`, and those that CREATE DATABASE makes.
type Server struct {
	listener net.Listener
	dir      string
	noCount  bool
	denied   []string
	// Certificate is the PEM of the certificate that the server shows, for the address 127.0.0.1.
	Certificate string
	tls         *tls.Config
	done        sync.WaitGroup
	ctx         context.Context
	stop        context.CancelFunc

	model sync.Mutex

	mu        sync.Mutex
	databases map[string]*database
	sessions  map[*session]bool
	faults    []*fault
	next      uint64
	waiting   atomic.Int64
}

// database is one database: a file, and the lock of its writer.
type database struct {
	id      int64
	name    string
	db      *sql.DB
	lock    chan struct{}
	mu      sync.Mutex
	schemas map[string]int64
}

// Fault is what goes wrong, once, in the next statement that contains a text. COMMIT stands for a commit's request, and ROWS with
// the name of a table for what a bulk copy sends there.
type Fault struct {
	// Error is sent instead of what the statement would have done.
	Error *Error
	// Cut ends the connection: before the statement is executed, or with After when it has been.
	Cut, After bool
	// Ends is true if the error ends the transaction, whatever XACT_ABORT says.
	Ends bool
}

type fault struct {
	match string
	Fault
}

// Start starts a server on 127.0.0.1. Stop must be called.
func Start(options Options) (*Server, error) {
	dir, err := os.MkdirTemp("", "lume-tds-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, noCount: options.NoCount, denied: options.Denied, databases: make(map[string]*database), sessions: make(map[*session]bool)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	if !options.Plain {
		if s.tls, s.Certificate, err = selfSigned(options.NegativeSerial); err != nil {
			return nil, err
		}
	}
	if err := registerFunctions(); err != nil {
		return nil, err
	}
	if err := s.create("master"); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	s.done.Go(s.accept)
	return s, nil
}

// Port is where the server listens.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// FailNext makes a fault happen in the next statement that contains match.
func (s *Server) FailNext(match string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &fault{match: match, Fault: f})
}

// Waiting is how many sessions wait for the lock of a database's writer.
func (s *Server) Waiting() int64 { return s.waiting.Load() }

// fault takes the fault of a statement, if there is one.
func (s *Server) fault(statement string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if strings.Contains(statement, f.match) {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			return f.Fault
		}
	}
	return Fault{}
}

// Stop ends all sessions and removes the databases.
func (s *Server) Stop() error {
	s.stop()
	err := s.listener.Close()
	s.mu.Lock()
	for session := range s.sessions {
		_ = session.conn.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
	for _, d := range s.databases {
		err = errors.Join(err, d.db.Close())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.done.Go(func() {
			defer conn.Close()
			s.serve(conn)
		})
	}
}

// serve runs one session.
func (s *Server) serve(conn net.Conn) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	session := &session{server: s, since: time.Now(), conn: conn, ctx: ctx, packet: 4096, lockTimeout: -1, noCount: s.noCount}
	s.mu.Lock()
	s.next++
	session.id = int64(s.next)
	s.sessions[session] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.sessions, session)
		s.mu.Unlock()
	}()
	if err := session.login(); err != nil {
		return
	}
	defer session.end()
	session.run()
}

// serial is the number of certificates, in one byte.
const serial = 0x7f

func selfSigned(negative bool) (*tls.Config, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "tdstest"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, "", err
	}
	if negative {
		// No library makes such a certificate, and clients look no further than the number.
		der = bytes.Replace(der, []byte{asn1.TagInteger, 1, serial}, []byte{asn1.TagInteger, 1, 0xff}, 1)
	}
	return &tls.Config{ //nolint:gosec // G402: TLS 1.3 does not fit into TDS 7, see below.
		// Inside of TDS 7 packets the handshake must not go on after the client's end, as that of TLS 1.3 does.
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, SessionTicketsDisabled: true,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"tds/8.0"},
	}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

// create makes a database, one at a time: each is a copy of `model`, which is locked for it.
func (s *Server) create(name string) error {
	if !s.model.TryLock() {
		return &Error{Number: 1807, State: 3, Class: 16, Text: "Could not obtain exclusive lock on database 'model'. Retry the operation later."}
	}
	defer s.model.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.databases[name]; ok {
		return &Error{Number: 1801, State: 3, Class: 16, Text: fmt.Sprintf("Database '%s' already exists. Choose a different database name.", name)}
	}
	s.next++
	file := filepath.Join(s.dir, fmt.Sprintf("%d.db", s.next))
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)")
	if err != nil {
		return err
	}
	const idle = 4
	db.SetMaxIdleConns(idle)
	d := &database{id: int64(s.next), name: name, db: db, lock: make(chan struct{}, 1), schemas: map[string]int64{"dbo": 1, "sys": 4}}
	for _, statement := range catalog(d) {
		if _, err := db.ExecContext(s.ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, errors.Join(err, db.Close()))
		}
	}
	s.databases[name] = d
	return nil
}

// killTakes is how long a session that is killed goes on. Who kills it once more in that time asks for a report of its rollback.
const killTakes = 100 * time.Millisecond

// kill ends a session, whatever it does: its connection breaks, and what it has not committed is rolled back.
func (s *Server) kill(id int64, by *session) error {
	if id == by.id {
		return &Error{Number: 6104, State: 1, Class: 16, Text: "Cannot use KILL to kill your own process."}
	}
	if by.transaction != 0 {
		return &Error{Number: 6115, State: 1, Class: 16, Text: "KILL command cannot be used inside user transactions."}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for session := range s.sessions {
		if session.id != id {
			continue
		}
		if session.killed {
			return &Error{Number: 6120, State: 1, Class: 16, Text: fmt.Sprintf("Status report cannot be obtained. Rollback operation for Process ID %d is not in progress.", id)}
		}
		session.killed = true
		s.done.Go(func() {
			select {
			case <-time.After(killTakes):
			case <-s.ctx.Done():
			}
			_ = session.conn.Close() // It may have ended already.
		})
		return nil
	}
	return &Error{Number: 6106, State: 2, Class: 16, Text: fmt.Sprintf("Process ID %d is not an active process ID.", id)}
}

// drop removes a database. Sessions in it go on failing.
func (s *Server) drop(name string) error {
	s.mu.Lock()
	d, ok := s.databases[name]
	delete(s.databases, name)
	s.mu.Unlock()
	if !ok {
		return &Error{Number: 3701, State: 1, Class: 11, Text: fmt.Sprintf("Cannot drop the database '%s', because it does not exist or you do not have permission.", name)}
	}
	return d.db.Close()
}

func (s *Server) database(name string) (*database, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.databases[name]
	return d, ok
}

// peeked is a connection whose first bytes were looked at.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

// Read implements net.Conn.
func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }
