package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lume-data/lume/connector"
)

// fake is a store whose operations can be made to fail.
type fake struct {
	mu      sync.Mutex
	objects map[string]object
	writes  int
	// before is asked before an operation, and can fail it without effect.
	before func(op, key string) error
	// after is asked after a write that has had its effect, and can lose the answer.
	after func(op, key string) error
	// deaf is the condition that the store ignores: "If-None-Match" or "If-Match".
	deaf string
	// cut is how many bytes a read delivers before its connection breaks; 0 for all.
	cut int
}

type object struct {
	content []byte
	etag    string
}

func newFake() *fake { return &fake{objects: map[string]object{}} }

func (m *fake) asked(f func(op, key string) error, op, key string) error {
	if f == nil {
		return nil
	}
	return f(op, key)
}

func (m *fake) Stat(_ context.Context, key string) (Attributes, error) {
	if err := m.asked(m.before, "stat", key); err != nil {
		return Attributes{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	if !ok {
		return Attributes{}, ErrNotExist
	}
	return Attributes{Size: int64(len(o.content)), ETag: o.etag, ModTime: time.Unix(1, 0)}, nil
}

func (m *fake) Open(_ context.Context, key, etag string, offset, length int64) (io.ReadCloser, error) {
	if err := m.asked(m.before, "open", key); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	switch {
	case !ok:
		return nil, ErrNotExist
	case etag != "" && etag != o.etag:
		return nil, connector.ErrChanged
	case offset >= int64(len(o.content)):
		return nil, ErrRange
	}
	content := o.content[offset:]
	if length >= 0 && length < int64(len(content)) {
		content = content[:length]
	}
	if m.cut > 0 && m.cut < len(content) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(content[:m.cut]), broken{})), nil
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

// broken is a connection that breaks.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (m *fake) Put(_ context.Context, key string, body []byte, cond Condition) error {
	if err := m.asked(m.before, "put", key); err != nil {
		return err
	}
	m.mu.Lock()
	o, exists := m.objects[key]
	refused := cond.IfNotExist && exists && m.deaf != "If-None-Match" || cond.IfMatch != "" && cond.IfMatch != o.etag && m.deaf != "If-Match"
	if !refused {
		m.writes++
		m.objects[key] = object{content: bytes.Clone(body), etag: fmt.Sprintf(`"%d"`, m.writes)}
	}
	m.mu.Unlock()
	if refused {
		return ErrPrecondition
	}
	return m.asked(m.after, "put", key)
}

func (m *fake) Create(_ context.Context, key string) (Writer, error) {
	if err := m.asked(m.before, "create", key); err != nil {
		return nil, err
	}
	return &fakeWriter{store: m, key: key}, nil
}

type fakeWriter struct {
	bytes.Buffer
	store *fake
	key   string
}

func (w *fakeWriter) Commit() error {
	return w.store.Put(context.Background(), w.key, w.Bytes(), Condition{})
}

func (*fakeWriter) Abort() {}

func (m *fake) List(_ context.Context, prefix, cursor string, recursive bool, limit int) ([]Entry, string, error) {
	if err := m.asked(m.before, "list", prefix); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for key := range m.objects {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		if i := strings.IndexByte(rest, '/'); i >= 0 && !recursive {
			key = prefix + rest[:i+1]
		}
		if key > cursor {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	next := ""
	if len(keys) > limit {
		keys, next = keys[:limit], keys[limit-1]
	}
	var entries []Entry
	for _, key := range keys {
		entries = append(entries, Entry{Key: key, Size: int64(len(m.objects[key].content))})
	}
	return entries, next, nil
}

func (m *fake) Delete(_ context.Context, key string) error {
	if err := m.asked(m.before, "delete", key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
	return nil
}

func (*fake) Sweep(context.Context, string, func(string) bool) error { return nil }
func (*fake) Close() error                                           { return nil }

// keys returns the keys of all objects.
func (m *fake) keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for key := range m.objects {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

var errLost = &connector.Error{Kind: connector.KindUnavailable, Reason: "ENDPOINT_UNREACHABLE", Message: "no answer", Cause: errors.New("reset")}

// link opens a connector to a store.
func link(store Store) *Connector {
	return New(Options{Store: store, Trusted: true, Location: Location{
		Prefix: "in/",
		Parse: func(path string) (string, error) {
			key, ok := strings.CutPrefix(path, "mem://")
			if !ok {
				return "", Outside(path, "mem://in/")
			}
			return key, nil
		},
		Format: func(key string) string { return "mem://" + key },
	}})
}
