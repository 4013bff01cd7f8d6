package blob

import (
	"context"
	"errors"
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
	if found != nil {
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
			return c.swept(ctx, t, err)
		}
		return connector.Outcome{}, err
	}
	decided, err := c.decide(ctx, t, m, receipt)
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
	if load.Attempt > 1 {
		c.clean(ctx, t, decided)
	}
	return connector.Outcome{Committed: true, Receipt: receipt}, nil
}

// swept is the outcome of a load whose unfinished objects have vanished: whoever decided the run has cleaned up.
func (c *Connector) swept(ctx context.Context, t target, cause error) (connector.Outcome, error) {
	found, err := c.readMarker(ctx, t)
	if err != nil {
		return connector.Outcome{}, err
	}
	if found != nil {
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

// decide writes the marker of an undecided run and returns the one that stands then: its own, or that of whoever was
// quicker. An error means that the run may be decided either way.
func (c *Connector) decide(ctx context.Context, t target, m marker, receipt []byte) (*marker, error) {
	if m.WriteID == "" {
		m.WriteID = Nonce()
	}
	m.Time = time.Now().UTC()
	text, err := m.encode(receipt)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		writeErr := c.store.Put(ctx, t.marker(), text, Condition{IfNotExist: true})
		if writeErr == nil {
			return &m, nil
		}
		// Also a refused write may have been this one, if the store's answer to it got lost and it was sent again.
		found, err := c.findMarker(ctx, t)
		refused := errors.Is(writeErr, ErrPrecondition)
		switch {
		case found != nil && err == nil:
			return found, nil
		case refused && err != nil:
			return nil, err
		case !refused:
			return nil, writeErr
		case try == decideTries:
			return nil, busy(t.marker(), writeErr)
		}
		// Another writer's marker is on its way: there are stores that refuse before readers see why.
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

// clean removes from a decided run's folder what its marker does not list: objects and unfinished uploads of attempts that
// cannot commit any more. It is best effort: readers never take them.
func (c *Connector) clean(ctx context.Context, t target, m *marker) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	keep := map[string]bool{t.marker(): true}
	if m != nil {
		for _, o := range append(m.Mapped, m.Rejected...) {
			keep[t.folder()+o.Name] = true
		}
	}
	err := func() error {
		for cursor := ""; ; {
			entries, next, err := c.store.List(ctx, t.folder(), cursor, true, pageSize)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if keep[e.Key] {
					continue
				}
				if err := c.store.Delete(ctx, e.Key); err != nil {
					return err
				}
			}
			if cursor = next; cursor == "" {
				return c.store.Sweep(ctx, t.folder())
			}
		}
	}()
	if err != nil {
		c.log.WarnContext(ctx, "leftovers of earlier attempts remain", "folder", t.folder(), "error", err.Error())
	}
}

const pageSize = 1000
