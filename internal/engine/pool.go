package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// ErrClosed is returned by Run after Close.
var ErrClosed = errors.New("engine: the pool is closed")

// maxWarmRSS is the resident size above which a child takes no further job. Nor does it if its address space has grown by
// more than the memory limit: what the allocator keeps would be missing under the limit of address space.
const maxWarmRSS = 384 << 20

// Pool runs jobs in child processes. It is safe for concurrent use.
type Pool struct {
	cfg     Config
	slots   chan struct{}
	starter *starter

	mu     sync.Mutex
	idle   []*child
	closed bool
	busy   sync.WaitGroup
}

// New returns a pool and starts one child, so that a program which cannot run children learns it at once. Close it.
func New(ctx context.Context, cfg Config) (*Pool, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	p := &Pool{cfg: cfg, slots: make(chan struct{}, cfg.Children), starter: newStarter()}
	c, err := p.start(ctx)
	if err != nil {
		p.starter.close()
		return nil, fmt.Errorf("engine: start a child: %w", err)
	}
	p.idle = append(p.idle, c)
	return p, nil
}

// Run runs a job in a child. It waits until a child is free. A job that fails returns an [*Error], or the error of ctx if
// that ended first: then the child is killed before Run returns.
func (p *Pool) Run(ctx context.Context, job Job) (*Result, error) {
	if job.Timeout == 0 {
		job.Timeout = p.cfg.Timeout
	}
	dir, err := p.checkDir(job.Dir)
	if err != nil {
		return nil, err
	}
	job.Dir = dir
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	defer p.busy.Done()
	threads := p.cfg.Threads
	if job.Threads > 0 {
		threads = min(job.Threads, threads)
	}
	answer, err := c.do(ctx, job, threads)
	if err != nil {
		c.kill()
		p.log(ctx, c, err)
		return nil, err
	}
	if answer.Error != nil {
		c.kill()
		p.log(ctx, c, answer.Error)
		return nil, answer.Error
	}
	p.giveBack(c, answer)
	return &Result{Steps: answer.Steps, PeakBytes: answer.PeakBytes, Wall: answer.Wall}, nil
}

// Close waits for the jobs that run and ends the children.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	p.busy.Wait()
	for _, c := range idle {
		c.kill()
	}
	p.starter.close()
	return nil
}

// checkDir returns the job's directory without symbolic links, if it lies below the pool's root.
func (p *Pool) checkDir(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", fmt.Errorf("engine: job directory: %w", err)
	}
	if !strings.HasPrefix(abs, p.cfg.Root+string(os.PathSeparator)) {
		return "", errors.New("engine: the job directory is outside of Config.Root")
	}
	return abs, nil
}

// take returns a warm child or a new one, and counts it as busy.
func (p *Pool) take(ctx context.Context) (*child, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	p.busy.Add(1)
	var c *child
	if n := len(p.idle); n > 0 {
		c, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	p.mu.Unlock()
	if c != nil && c.alive() {
		return c, nil
	}
	if c != nil {
		c.kill()
	}
	c, err := p.start(ctx)
	if err != nil {
		p.busy.Done()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Error{Reason: ReasonCrashed, Detail: err.Error()}
	}
	return c, nil
}

// giveBack keeps a child warm for the next job if it may take one.
func (p *Pool) giveBack(c *child, last *response) {
	c.jobs++
	grown := last.VirtualBytes - c.virtual
	p.mu.Lock()
	keep := !p.closed && c.jobs < p.cfg.JobsPerChild && last.RSSBytes <= maxWarmRSS && grown <= p.cfg.MemoryBytes
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.kill()
	}
}

func (p *Pool) start(ctx context.Context) (*child, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return startChild(ctx, p.starter, p.cfg)
}

// log records why a job failed, with what the child said last.
func (p *Pool) log(ctx context.Context, c *child, err error) {
	var e *Error
	if errors.As(err, &e) {
		p.cfg.Log.WarnContext(ctx, "engine job failed", "reason", e.Reason, "step", e.Step, "detail", e.Detail, "stderr", c.stderr.String())
	}
}
