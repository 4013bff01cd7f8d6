package reject

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// maxFiles is how many reject files a cache keeps, so that the pages of a listing do not fetch a file each.
const maxFiles = 16

// cache keeps reject files that were fetched from staging.
type cache struct {
	files files
	dir   string

	mu      sync.Mutex
	clock   int64
	entries map[string]*entry
}

// entry is one file. Its fields but fetched and err are guarded by the cache's mutex.
type entry struct {
	path    string
	used    int64
	readers int
	// fetched is closed when the file is there, or err is set.
	fetched chan struct{}
	err     error
}

func newCache(files files, dir string) (*cache, error) {
	dir, err := os.MkdirTemp(dir, "lume-rejects-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for reject files: %w", err)
	}
	return &cache{files: files, dir: dir, entries: map[string]*entry{}}, nil
}

func (c *cache) close() error { return os.RemoveAll(c.dir) }

// get returns the path of an object's local file, which stays until release is called.
func (c *cache) get(ctx context.Context, obj *typev1.StagedObject) (path string, release func(), err error) {
	for {
		e, mine := c.enter(obj.GetKey())
		release := func() { c.leave(obj.GetKey(), e) }
		if mine {
			e.err = c.files.Fetch(ctx, obj, e.path)
			close(e.fetched)
		}
		select {
		case <-ctx.Done():
			release()
			return "", nil, ctx.Err()
		case <-e.fetched:
		}
		if e.err == nil {
			return e.path, release, nil
		}
		release()
		// Somebody else's fetch may have ended with that caller's context: try for oneself.
		if mine || !errors.Is(e.err, context.Canceled) && !errors.Is(e.err, context.DeadlineExceeded) {
			return "", nil, e.err
		}
	}
}

// enter counts a reader of the key's file; mine tells that the caller has to fetch it.
func (c *cache) enter(key string) (e *entry, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	e, ok := c.entries[key]
	if !ok {
		e = &entry{path: filepath.Join(c.dir, strconv.FormatInt(c.clock, 10)+".parquet"), fetched: make(chan struct{})}
		c.entries[key] = e
	}
	e.used = c.clock
	e.readers++
	return e, !ok
}

func (c *cache) leave(key string, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.readers--
	select {
	case <-e.fetched:
		if e.err != nil && c.entries[key] == e {
			delete(c.entries, key)
		}
	default:
	}
	for len(c.entries) > maxFiles && c.evict() {
	}
}

// evict removes the file that was not used for longest and that nobody reads.
func (c *cache) evict() bool {
	var oldest string
	for key, e := range c.entries {
		if e.readers == 0 && (oldest == "" || e.used < c.entries[oldest].used) {
			oldest = key
		}
	}
	if oldest == "" {
		return false
	}
	_ = os.Remove(c.entries[oldest].path) // the folder goes as a whole in the end
	delete(c.entries, oldest)
	return true
}
