package blob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/lume-data/lume/connector"
)

// Step is one step of a test.
type Step struct {
	// Name is stable, for example `connect`.
	Name string
	Run  func(ctx context.Context) error
}

// LinkSteps are the steps `connect` and `authenticate`: they tell reaching the store from being let in by the error of look,
// which asks the store for one key of the prefix. `read` then tells whether keys can be listed.
func LinkSteps(look func(ctx context.Context) error) []Step {
	fails := func(step func(*connector.Error) bool) func(context.Context) error {
		return func(ctx context.Context) error {
			err := look(ctx)
			var coded *connector.Error
			if errors.As(err, &coded) && !step(coded) {
				return nil
			}
			return err
		}
	}
	return []Step{
		{Name: "connect", Run: fails(func(e *connector.Error) bool {
			return e.Kind == connector.KindUnavailable || e.Kind == connector.KindInternal || strings.HasPrefix(e.Reason, "TLS_")
		})},
		{Name: "authenticate", Run: fails(func(e *connector.Error) bool { return e.Kind == connector.KindUnauthenticated })},
	}
}

// checkPrefix begins the names of objects that a test or the first load writes and removes again.
const checkPrefix = ".lume-check-"

// Check implements connector.Connector.
func (c *Connector) Check(ctx context.Context) []connector.Check {
	var checks connector.Checks
	for _, s := range c.steps {
		checks.Run(s.Name, func() error { return s.Run(ctx) })
	}
	checks.Run("read", func() error {
		_, _, err := c.store.List(ctx, c.loc.Prefix, "", false, 1)
		return err
	})
	if c.readOnly {
		checks.Skip("write")
		checks.Skip("conditional_write")
		return checks.List()
	}
	key := c.loc.Prefix + checkPrefix + Nonce()
	defer c.remove(ctx, key)
	checks.Run("write", func() error { return c.store.Put(ctx, key, []byte("1"), Condition{}) })
	checks.Run("conditional_write", func() error { return conditional(ctx, c.store, key) })
	return checks.List()
}

// probe remembers whether the store honours conditional writes.
type probe struct {
	mu      sync.Mutex
	honours bool
}

func (p *probe) trust() { p.honours = true }

// ask makes sure once that conditional writes of the store are conditional: the marker of a load is one.
func (c *Connector) ask(ctx context.Context) error {
	c.probed.mu.Lock()
	defer c.probed.mu.Unlock()
	if c.probed.honours {
		return nil
	}
	key := c.loc.Prefix + checkPrefix + Nonce()
	defer c.remove(ctx, key)
	if err := c.store.Put(ctx, key, []byte("1"), Condition{}); err != nil {
		return err
	}
	if err := conditional(ctx, c.store, key); err != nil {
		return err
	}
	c.probed.honours = true
	return nil
}

// conditional checks over an existing object that conditions which do not hold are refused, and that one that holds is not.
func conditional(ctx context.Context, store Store, key string) error {
	unsupported := func(header string, cause error) error {
		return &connector.Error{
			Kind: connector.KindConflict, Reason: "CONDITIONAL_WRITES_UNSUPPORTED",
			Message: "the store ignores the header " + header + " of a write, so that a load could not be exactly once",
			Next:    "use a store that honours it, or set read_only if the connector is only a source",
			Meta:    map[string]string{"header": header}, Cause: cause,
		}
	}
	if err := store.Put(ctx, key, []byte("2"), Condition{IfNotExist: true}); !errors.Is(err, ErrPrecondition) {
		if err != nil {
			return err
		}
		return unsupported("If-None-Match", nil)
	}
	a, err := store.Stat(ctx, key)
	if err != nil {
		return err
	}
	if err := store.Put(ctx, key, []byte("3"), Condition{IfMatch: a.ETag}); err != nil {
		if errors.Is(err, ErrPrecondition) {
			return unsupported("If-Match", err)
		}
		return err
	}
	if err := store.Put(ctx, key, []byte("4"), Condition{IfMatch: a.ETag}); !errors.Is(err, ErrPrecondition) {
		if err != nil {
			return err
		}
		return unsupported("If-Match", nil)
	}
	return nil
}

// Nonce returns a name that nobody else uses.
func Nonce() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// remove deletes an object of this connector even if the caller has gone; what fails is logged.
func (c *Connector) remove(ctx context.Context, keys ...string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	for _, key := range keys {
		if err := c.store.Delete(ctx, key); err != nil {
			c.log.WarnContext(ctx, "object left behind", "key", key, "error", err.Error())
		}
	}
}

// removeTimeout bounds how long a failed load may hold on to clean up.
const removeTimeout = 30 * time.Second
