// Package up runs all four services in one process: same code as `lume serve`, other configuration.
package up

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lume-data/lume/cmd/internal/datadir"
	"github.com/lume-data/lume/cmd/internal/serve"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/lifecycle"
)

// Config is what `lume up` is told.
type Config struct {
	Dir  datadir.Dir
	Port int
	// Roots are allowed beside the current folder and the data folder's files/.
	Roots                  []string
	Slots                  int
	Memory                 serve.Bytes
	LogLevel, OTLPEndpoint string
}

// readyWithin bounds the start.
const readyWithin = time.Minute

// Run starts everything, says on out where it is, and blocks until ctx ends and all services have drained.
func Run(ctx context.Context, cfg Config, out, log io.Writer) (err error) {
	dir := cfg.Dir
	unlock, err := claim(dir)
	if err != nil {
		return err
	}
	defer unlock()
	endpoints, err := place(cfg.Port)
	if err != nil {
		return err
	}
	process, err := serve.NewProcess(ctx, "lume-up", cfg.LogLevel, cfg.OTLPEndpoint, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, process.Telemetry.Shutdown(context.WithoutCancel(ctx))) }()
	nats, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: dir.NATS(), Log: process.Log})
	if err != nil {
		return err
	}
	b := builder{
		cfg: cfg, endpoints: endpoints, nats: nats, log: log,
		// Nobody else needs it: the services of this process are the only workers.
		token: rand.Text(),
	}
	group := &lifecycle.Group{Log: process.Log}
	group.Add("nats", nil, func(context.Context) { nats.Close() })
	if err := b.services(ctx, group); err != nil {
		nats.Close()
		return err
	}
	group.Add("ready", func(ctx context.Context) error {
		if err := ready(ctx, endpoints); err != nil {
			return err
		}
		if err := dir.Write(endpoints); err != nil {
			return err
		}
		welcome(out, dir, endpoints)
		<-ctx.Done()
		return nil
	}, func(context.Context) { _ = os.Remove(dir.Endpoints()) })
	return group.Run(ctx)
}

// claim makes the data folder and keeps a second process out of it until unlock is called or this process ends. What a
// process that died left in the work folder is removed, once nobody else can be using it.
func claim(dir datadir.Dir) (unlock func(), err error) {
	if err := dir.Create(); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(dir.Lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("another lume up uses %s: stop it, or give another folder by --data", dir.Path)
	}
	if err := os.RemoveAll(dir.Work()); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if err := dir.Create(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return func() { _ = lock.Close() }, nil
}

// place says where the services will listen.
func place(port int) (datadir.Endpoints, error) {
	if port < 0 || port > 65_535-31 {
		return datadir.Endpoints{}, fmt.Errorf("--port %d is not between 0 and %d", port, 65_535-31)
	}
	if port == 0 {
		var err error
		if port, err = freeBase(); err != nil {
			return datadir.Endpoints{}, err
		}
	}
	e := addresses(port)
	e.PID = os.Getpid()
	return e, nil
}

// ready waits until every service says that it is.
func ready(ctx context.Context, e datadir.Endpoints) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for _, address := range []string{e.IngestHTTP, e.TransformHTTP, e.EgressHTTP, e.ControlHTTP} {
		for !answers(ctx, client, address) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("the service on %s is not ready after %s: --log-level info says more", address, readyWithin)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

func answers(ctx context.Context, client *http.Client, address string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func welcome(out io.Writer, dir datadir.Dir, e datadir.Endpoints) {
	fmt.Fprintf(out, `Lume is up.

  REST       http://%s/v1   (OpenAPI: http://%s/openapi.json)
  gRPC       %s
  API key    in %s
  Data       %s

`, e.ControlHTTP, e.ControlHTTP, e.ControlGRPC, dir.AdminKey(), dir.Path)
	if home, err := os.UserHomeDir(); err != nil || dir.Path != filepath.Join(home, ".lume") {
		fmt.Fprintf(out, "Other commands find it by: export LUME_DATA=%s\n", dir.Path)
	}
	fmt.Fprintln(out, "Next: lume connectors specs. Stop it by Ctrl-C.")
}

// roots are the folders that file and sqlite connectors may use: never the data folder itself, which holds keys.
func (c Config) roots() ([]string, error) {
	files := filepath.Join(c.Dir.Path, "files")
	if err := os.MkdirAll(files, 0o700); err != nil {
		return nil, err
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	all := []string{here, files}
	for _, root := range c.Roots {
		abs, err := filepath.Abs(root)
		if err != nil {
			return nil, err
		}
		if info, err := os.Stat(abs); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("--root %s is not a folder", root)
		}
		all = append(all, abs)
	}
	return all, nil
}
