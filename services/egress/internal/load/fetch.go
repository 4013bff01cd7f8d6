package load

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/staging"
)

// cache keeps staged objects as local files until the task ends. It is safe for concurrent use.
type cache struct {
	store *staging.Store
	dir   string

	mu      sync.Mutex
	files   map[string]*fetched
	ahead   sync.WaitGroup
	forward context.Context
	stop    context.CancelFunc
}

type fetched struct {
	path string

	mu    sync.Mutex
	there bool
}

func newCache(ctx context.Context, store *staging.Store, dir string) *cache {
	c := &cache{store: store, dir: dir, files: make(map[string]*fetched)}
	c.forward, c.stop = context.WithCancel(ctx)
	return c
}

// get returns the path of an object's local file.
func (c *cache) get(ctx context.Context, obj *typev1.StagedObject) (string, error) {
	c.mu.Lock()
	f, ok := c.files[obj.GetKey()]
	if !ok {
		f = &fetched{path: filepath.Join(c.dir, fmt.Sprintf("%05d.parquet", len(c.files)))}
		c.files[obj.GetKey()] = f
	}
	c.mu.Unlock()

	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.there {
		if err := c.store.Fetch(ctx, obj, f.path); err != nil {
			return "", err
		}
		f.there = true
	}
	return f.path, nil
}

// prefetch begins to fetch an object that will be needed soon. Its errors show when it is needed.
func (c *cache) prefetch(obj *typev1.StagedObject) {
	if obj == nil {
		return
	}
	c.ahead.Go(func() { _, _ = c.get(c.forward, obj) })
}

// close waits for what is being fetched. The files go with their folder.
func (c *cache) close() {
	c.stop()
	c.ahead.Wait()
}
