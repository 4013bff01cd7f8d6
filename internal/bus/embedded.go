package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// probeEvery is how often an embedded server is asked for its health.
	probeEvery = 5 * time.Second
	// defaultStore bounds the disk of an embedded server; the streams reserve 800 MiB of it.
	defaultStore = 1 << 30
	startTimeout = 30 * time.Second
)

// ErrLocked is returned for a folder that another server uses.
var ErrLocked = errors.New("another process uses the NATS folder")

// EmbeddedConfig of a NATS server in this process.
type EmbeddedConfig struct {
	// Dir keeps its streams; it is created, and locked while the server runs.
	Dir string
	// MaxStore bounds the bytes on disk; default 1 GiB, which is also the least that the streams need.
	MaxStore int64
	// Log gets the server's warnings; nil for none.
	Log *slog.Logger
}

// Embedded is a NATS server in this process, reached through memory alone: it listens on no port. What it has
// acknowledged is on disk. If its health check fails twice in a row (a full disk leaves a stream unusable until a
// restart) it is restarted; connections come back by themselves.
type Embedded struct {
	log    *slog.Logger
	opts   *server.Options
	lock   *os.File
	probe  func(*server.Server) error // Replaced by tests.
	stop   context.CancelFunc
	keeper sync.WaitGroup

	mu     sync.Mutex
	server *server.Server // nil while it restarts.
	err    error
}

// StartEmbedded starts a server and waits until it is ready. The folder must be of no other server: ErrLocked.
func StartEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	return startEmbedded(cfg, probeEvery, healthz)
}

func startEmbedded(cfg EmbeddedConfig, every time.Duration, probe func(*server.Server) error) (*Embedded, error) {
	if cfg.Dir == "" {
		return nil, errors.New("the NATS folder is empty")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxStore == 0 {
		cfg.MaxStore = defaultStore
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the NATS folder: %w", err)
	}
	lock, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	e := &Embedded{log: cfg.Log, lock: lock, probe: probe, opts: &server.Options{
		ServerName: "lume", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: cfg.Dir, SyncAlways: true,
		JetStreamMaxStore: cfg.MaxStore, JetStreamMaxMemory: 64 << 20,
		MaxPayload: maxMessage, MaxControlLine: 4096,
	}}
	if e.server, err = e.start(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.keeper.Go(func() { e.watch(ctx, every) })
	return e, nil
}

// lockFolder takes a lock that ends with this process. The server itself would open a folder twice.
func lockFolder(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the NATS folder: %w", err)
	}
	if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock the NATS folder: %w", err)
	}
	return lock, nil
}

func (e *Embedded) start() (*server.Server, error) {
	s, err := server.NewServer(e.opts.Clone())
	if err != nil {
		return nil, fmt.Errorf("start the embedded NATS server: %w", err)
	}
	s.SetLoggerV2(serverLog{e.log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTimeout) || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, errors.New("the embedded NATS server did not become ready; its log has the cause")
	}
	return s, nil
}

// InProcessConn implements the client's interface for connections through memory.
func (e *Embedded) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	s := e.server
	e.mu.Unlock()
	if s == nil {
		return nil, errors.New("the embedded NATS server restarts")
	}
	return s.InProcessConn()
}

// Health returns nil, or why the server is not well.
func (e *Embedded) Health() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// watch probes the server and restarts it after the second failure in a row.
func (e *Embedded) watch(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		e.mu.Lock()
		s := e.server
		e.mu.Unlock()
		err := errors.New("the embedded NATS server restarts")
		if s != nil {
			err = e.probe(s)
		}
		e.setHealth(err)
		if err == nil {
			failures = 0
			continue
		}
		if failures++; failures < 2 {
			continue
		}
		failures = 1 // If it comes back ill, once more is enough.
		e.log.Error("the embedded NATS server is not well; restarting it", "cause", err)
		e.restart(s)
	}
}

func (e *Embedded) setHealth(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = err
}

func (e *Embedded) restart(old *server.Server) {
	e.mu.Lock()
	e.server = nil
	e.mu.Unlock()
	if old != nil {
		old.Shutdown()
		old.WaitForShutdown()
	}
	s, err := e.start()
	if err != nil {
		e.log.Error("the embedded NATS server does not start; trying again", "cause", err)
		return
	}
	e.mu.Lock()
	e.server = s
	e.mu.Unlock()
}

// Close stops the server and gives its folder free.
func (e *Embedded) Close() {
	e.stop()
	e.keeper.Wait()
	e.mu.Lock()
	s := e.server
	e.server, e.err = nil, errors.New("the embedded NATS server has stopped")
	e.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
	_ = e.lock.Close()
}

// healthz asks the server what its /healthz page would say: it checks every stream and consumer.
func healthz(s *server.Server) error {
	page := &page{code: http.StatusOK}
	s.HandleHealthz(page, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/healthz"}})
	if page.code != http.StatusOK {
		return fmt.Errorf("the embedded NATS server is not well: %s", page.body.String())
	}
	return nil
}

// page takes what a handler answers.
type page struct {
	code int
	body bytes.Buffer
}

func (p *page) Header() http.Header         { return http.Header{} }
func (p *page) WriteHeader(code int)        { p.code = code }
func (p *page) Write(b []byte) (int, error) { return p.body.Write(b) }

// serverLog passes on what operators must see; the server's notices are many.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(format string, v ...any) {
	l.log.Debug("nats: " + fmt.Sprintf(format, v...))
}
func (l serverLog) Warnf(format string, v ...any)  { l.log.Warn("nats: " + fmt.Sprintf(format, v...)) }
func (l serverLog) Errorf(format string, v ...any) { l.log.Error("nats: " + fmt.Sprintf(format, v...)) }
func (l serverLog) Fatalf(format string, v ...any) { l.log.Error("nats: " + fmt.Sprintf(format, v...)) }
func (l serverLog) Debugf(string, ...any)          {}
func (l serverLog) Tracef(string, ...any)          {}
