// Package lifecycle runs the parts of a service together and stops them in reverse order, each within a deadline.
//
// The order of a stop is the order of a drain: what was added last (it takes work in) ends first, and what others
// still need while they finish (a database, a connection) ends last.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// DefaultStopTimeout bounds the stop of one component.
const DefaultStopTimeout = 30 * time.Second

// Group is an ordered list of components. Its zero value is ready; it is used from one goroutine.
type Group struct {
	// Log gets starts, stops and errors; nil for none.
	Log *slog.Logger
	// StopTimeout bounds the stop of one component; 0 for [DefaultStopTimeout].
	StopTimeout time.Duration

	components []component
}

type component struct {
	name string
	run  func(context.Context) error
	stop func(context.Context)
}

type running struct {
	component
	cancel context.CancelFunc
	done   chan struct{}
	err    error // Read after done.
}

// Add appends a component. run blocks until its context ends or it fails; nil for a part that needs only a stop. stop
// asks it to finish and returns when it has, or when its context ends; nil if the end of run's context is enough.
// After stop the context of run ends in any case.
func (g *Group) Add(name string, run func(ctx context.Context) error, stop func(ctx context.Context)) {
	g.components = append(g.components, component{name: name, run: run, stop: stop})
}

// Run starts the components in order and blocks until ctx ends or one of them fails; then it stops all of them in
// reverse order. It returns the first failure, and an error for each component that did not stop in time.
func (g *Group) Run(ctx context.Context) error {
	log := g.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	failed := make(chan error, len(g.components))
	started := make([]*running, 0, len(g.components))
	for _, c := range g.components {
		// Its own context: it ends when it is this component's turn to stop, not with ctx.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := &running{component: c, cancel: cancel, done: make(chan struct{})}
		started = append(started, r)
		go func() {
			defer close(r.done)
			if r.run == nil {
				<-own.Done()
				return
			}
			if err := r.run(own); err != nil && own.Err() == nil {
				r.err = fmt.Errorf("%s: %w", r.name, err)
				failed <- r.err
			}
		}()
	}
	var first error
	select {
	case <-ctx.Done():
		log.InfoContext(ctx, "stopping")
	case first = <-failed:
		log.ErrorContext(ctx, "stopping after a failure", slog.Any("error", first))
	}
	return errors.Join(first, g.stop(ctx, log, started))
}

func (g *Group) stop(ctx context.Context, log *slog.Logger, started []*running) error {
	timeout := g.StopTimeout
	if timeout <= 0 {
		timeout = DefaultStopTimeout
	}
	var late []error
	for i := len(started) - 1; i >= 0; i-- {
		r := started[i]
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		if r.stop != nil {
			r.stop(stopping)
		}
		r.cancel()
		select {
		case <-r.done:
			log.DebugContext(ctx, "stopped", slog.String("component", r.name))
		case <-stopping.Done():
			late = append(late, fmt.Errorf("%s did not stop within %s", r.name, timeout))
			log.ErrorContext(ctx, "a component did not stop in time", slog.String("component", r.name))
		}
		cancel()
	}
	return errors.Join(late...)
}
