package task

import (
	"context"
	"sync"

	"github.com/lume-data/lume/services/control/internal/store"
)

// maxVersions bounds what a cache of versions holds.
const maxVersions = 256

// versions keeps versions that were read: they never change.
type versions struct {
	mu     sync.Mutex
	byName map[store.Pair]store.Version
}

func (v *versions) get(ctx context.Context, db store.Reader, flow string, number int32) (store.Version, error) {
	key := store.Pair{Flow: flow, Version: number}
	v.mu.Lock()
	found, ok := v.byName[key]
	v.mu.Unlock()
	if ok {
		return found, nil
	}
	found, err := db.Version(ctx, flow, number)
	if err != nil {
		return store.Version{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.byName == nil || len(v.byName) >= maxVersions {
		v.byName = make(map[store.Pair]store.Version)
	}
	v.byName[key] = found
	return found, nil
}
