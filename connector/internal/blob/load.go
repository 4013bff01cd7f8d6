package blob

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/lume-data/lume/connector"
)

// Load implements connector.Target: data objects, then the marker, then for a replace the pointer.
func (c *Connector) Load(ctx context.Context, load connector.Load) (connector.Outcome, error) {
	t, err := c.target(load.RunID, load.Target)
	if err == nil {
		err = checkSpec(load.Target)
	}
	if err == nil {
		err = c.writable()
	}
	if err == nil {
		err = c.ask(ctx)
	}
	if err != nil {
		return connector.Outcome{}, err
	}
	found, err := c.readMarker(ctx, t)
	if err != nil {
		return connector.Outcome{}, err
	}
	if found.stops(load.Fence) {
		return c.existing(ctx, t, found)
	}
	if err := c.mixed(ctx, t, load.Target.Mode); err != nil {
		return connector.Outcome{}, err
	}
	a := &attempt{c: c, load: load, target: t}
	m, receipt, err := a.write(ctx)
	if err != nil {
		// Nothing can commit these objects any more.
		c.remove(ctx, a.keys...)
		if errors.Is(err, ErrNotExist) {
			return c.swept(ctx, t, load.Fence, err)
		}
		return connector.Outcome{}, err
	}
	decided, err := c.decide(ctx, t, found, m, receipt)
	if err != nil {
		// The marker may still arrive: whoever decides the run next cleans up.
		return connector.Outcome{}, err
	}
	if decided.WriteID != m.WriteID {
		c.remove(ctx, a.keys...)
		return c.existing(ctx, t, decided)
	}
	if err := c.point(ctx, t, decided); err != nil {
		return connector.Outcome{}, err
	}
	if load.Attempt > 1 || found != nil {
		c.clean(ctx, t, decided)
	}
	return connector.Outcome{Committed: true, Receipt: receipt}, nil
}

// swept is the outcome of a load whose unfinished objects have vanished: whoever decided the run has cleaned up.
func (c *Connector) swept(ctx context.Context, t target, fence int64, cause error) (connector.Outcome, error) {
	found, err := c.readMarker(ctx, t)
	if err != nil {
		return connector.Outcome{}, err
	}
	if found.stops(fence) {
		return c.existing(ctx, t, found)
	}
	return connector.Outcome{}, &connector.Error{
		Kind: connector.KindUnavailable, Reason: "UPLOAD_VANISHED", Message: "an object vanished while it was written",
		Next: "the run tries again by itself; if it happens again, look for what else deletes objects below the prefix",
		Meta: map[string]string{"folder": t.folder()}, Cause: cause,
	}
}

const (
	// decideTimeout bounds how long a writer tries to find out what became of its marker after its caller has gone.
	decideTimeout = 30 * time.Second
	// decideTries bounds how often a marker is written that is refused while no other can be seen.
	decideTries = 8
)

// decide writes a marker in the place of the one that stands, nil for none, which must not stop it, and returns the one that
// stands then: its own, or one of another writer that stops it. An error means that the run may be decided either way.
func (c *Connector) decide(ctx context.Context, t target, standing *marker, m marker, receipt []byte) (*marker, error) {
	if m.WriteID == "" {
		m.WriteID = Nonce()
	}
	m.Time = time.Now().UTC()
	text, err := m.encode(receipt)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		cond := Condition{IfNotExist: standing == nil}
		if standing != nil {
			cond.IfMatch = standing.etag
		}
		writeErr := c.store.Put(ctx, t.marker(), text, cond)
		if writeErr == nil {
			return &m, nil
		}
		// Also a refused write may have been this one, if the store's answer to it got lost and it was sent again.
		found, err := c.findMarker(ctx, t)
		refused := errors.Is(writeErr, ErrPrecondition)
		switch {
		case found.stops(m.Fence) && err == nil:
			return found, nil
		case refused && err != nil:
			return nil, err
		case !refused:
			return nil, writeErr
		case try == decideTries:
			return nil, busy(t.marker(), writeErr)
		}
		// Another writer's marker is on its way: there are stores that refuse before readers see why. Or one that gives way, too,
		// has taken the place of the one that stood.
		standing = found
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(try) * 50 * time.Millisecond):
		}
	}
}

// findMarker reads the marker even if the caller has gone.
func (c *Connector) findMarker(ctx context.Context, t target) (*marker, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), decideTimeout)
	defer cancel()
	return c.readMarker(ctx, t)
}

// clean removes from a run's folder what its marker says is dead: objects and unfinished uploads that no load can commit any
// more. Of a committed run that is all that the marker does not list. Of an aborted one it is what loads have written that the
// marker stops; a load with a higher fence may be at work beside them. It is best effort: readers never take them.
func (c *Connector) clean(ctx context.Context, t target, m *marker) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	listed := map[string]bool{t.marker(): true}
	for _, o := range slices.Concat(m.Mapped, m.Rejected) {
		listed[t.folder()+o.Name] = true
	}
	stopped := func(key string) bool {
		fence, ok := fenceOf(key)
		return m.State == committed || ok && fence <= m.Fence
	}
	err := func() error {
		for cursor := ""; ; {
			entries, next, err := c.store.List(ctx, t.folder(), cursor, true, pageSize)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if listed[e.Key] || !stopped(e.Key) {
					continue
				}
				if err := c.store.Delete(ctx, e.Key); err != nil {
					return err
				}
			}
			if cursor = next; cursor == "" {
				return c.store.Sweep(ctx, t.folder(), stopped)
			}
		}
	}()
	if err != nil {
		c.log.WarnContext(ctx, "leftovers of earlier attempts remain", "folder", t.folder(), "error", err.Error())
	}
}

const pageSize = 1000
