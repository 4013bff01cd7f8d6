package blob

import (
	"log/slog"
	"sync/atomic"

	"github.com/lume-data/lume/connector"
)

// Options are what [New] needs.
type Options struct {
	Store    Store
	Location Location
	// ReadOnly refuses to write.
	ReadOnly bool
	// Trusted is true if the store is known to honour conditional writes; otherwise the first load asks it.
	Trusted bool
	// Steps of Check that come before `read`, for example `connect`, in order.
	Steps []Step
	Log   *slog.Logger
}

// Connector is an open link to an object store: a source, a discoverer and a target.
type Connector struct {
	store    Store
	loc      Location
	readOnly bool
	steps    []Step
	log      *slog.Logger
	probed   probe
	// pinned is the object that was looked at last: ranges of one object are mostly read one after the other.
	pinned atomic.Pointer[pin]
	// partBytes is the size from which a data object is ended and the next one begun.
	partBytes int64
}

var (
	_ connector.ObjectSource = (*Connector)(nil)
	_ connector.Discoverer   = (*Connector)(nil)
	_ connector.Target       = (*Connector)(nil)
)

// defaultPartBytes keeps data objects at a size that readers can share out.
const defaultPartBytes = 256 << 20

// New makes a connector.
func New(o Options) *Connector {
	c := &Connector{store: o.Store, loc: o.Location, readOnly: o.ReadOnly, steps: o.Steps, log: o.Log, partBytes: defaultPartBytes}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if o.Trusted {
		c.probed.trust()
	}
	return c
}

// Close implements connector.Connector.
func (c *Connector) Close() error { return c.store.Close() }
