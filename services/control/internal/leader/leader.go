// Package leader lets one of control's replicas do what only one should do at a time. Whoever holds the lease may lose
// it without notice (a pause, a slow disk), so that what a leader does must be harmless when done twice.
package leader

import (
	"context"
	"time"

	"github.com/lume-data/lume/services/control/internal/store"
)

// TTL is how long a lease lasts after it was taken or prolonged.
const TTL = 15 * time.Second

// Lease is one replica's part in an election. It is not safe for concurrent use.
type Lease struct {
	db           store.Leases
	name, holder string
	held         bool
	asked        time.Time // when the database was asked last, before its answer
}

// New makes a lease of that name; holder names the replica.
func New(db store.Leases, name, holder string) *Lease {
	return &Lease{db: db, name: name, holder: holder}
}

// Held tells whether this replica leads. It asks the database only when a third of the lease has passed, and every
// second while another leads.
func (l *Lease) Held(ctx context.Context) (bool, error) {
	since := time.Since(l.asked)
	if !l.asked.IsZero() && ((l.held && since < TTL/3) || (!l.held && since < time.Second)) {
		return l.held, nil
	}
	asked := time.Now()
	held, err := l.db.AcquireLease(ctx, l.name, l.holder, TTL)
	if err != nil {
		return l.held && since < TTL, err
	}
	l.held, l.asked = held, asked
	return held, nil
}

// Release lets another replica lead at once.
func (l *Lease) Release(ctx context.Context) error {
	if !l.held {
		return nil
	}
	l.held, l.asked = false, time.Time{}
	return l.db.ReleaseLease(ctx, l.name, l.holder)
}
