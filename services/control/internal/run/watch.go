package run

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/lume-data/lume/services/control/internal/store"
)

// poll is how often a watcher looks by itself, in case that a notice was lost.
const poll = 2 * time.Second

// Watch calls fn with the run as it is, then whenever the run or how far its stages are has changed, and returns nil
// after fn has seen its final state; a run that is resumed after that is for another watch. It skips what happens while fn is busy. It ends early with fn's error or ctx's, or
// with store.ErrNotFound.
func (s *Service) Watch(ctx context.Context, id string, fn func(View) error) error {
	// Subscribe first: what happens after the first look is then announced.
	changed, stop := s.hub.subscribe(id)
	defer stop()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	var last View
	for first := true; ; first = false {
		v, err := s.Get(ctx, id)
		if err != nil {
			return err
		}
		if first || v.Revision != last.Revision || !reflect.DeepEqual(v.Stages, last.Stages) || !reflect.DeepEqual(v.Targets, last.Targets) {
			if err := fn(v); err != nil {
				return err
			}
			last = v
		}
		if v.State.Final() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-ticker.C:
		}
	}
}

// hub hands the store's notices to those who watch a run.
type hub struct {
	stop func()

	mu       sync.Mutex
	watchers map[string]map[chan struct{}]struct{}
}

func newHub(db store.Store) *hub {
	h := &hub{watchers: map[string]map[chan struct{}]struct{}{}}
	h.stop = db.Observe(h.notify)
	return h
}

func (h *hub) close() { h.stop() }

func (h *hub) notify(n store.Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range n.Runs {
		for ch := range h.watchers[id] {
			select {
			case ch <- struct{}{}:
			default: // it has yet to look, and will see this too
			}
		}
	}
}

func (h *hub) subscribe(id string) (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers[id] == nil {
		h.watchers[id] = map[chan struct{}]struct{}{}
	}
	h.watchers[id][ch] = struct{}{}
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers[id], ch)
		if len(h.watchers[id]) == 0 {
			delete(h.watchers, id)
		}
	}
}
