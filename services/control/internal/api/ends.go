package api

import (
	"context"
	"regexp"
	"strconv"
	"sync"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/services/control/internal/store"
)

// maxEnds bounds the cache of ends.
const maxEnds = 4096

// end is where the runs of a version read and write.
type end struct {
	source  string
	targets []targetEnd
}

type targetEnd struct{ name, connector, location string }

// ends caches the ends of versions, which never change, so that a list of runs does not read a version for each.
type ends struct {
	versions store.VersionReader

	mu    sync.Mutex
	known map[versionKey]end
}

type versionKey struct {
	flow   string
	number int32
}

func newEnds(versions store.VersionReader) *ends {
	return &ends{versions: versions, known: make(map[versionKey]end)}
}

func (e *ends) of(ctx context.Context, flow string, number int32) (end, error) {
	key := versionKey{flow, number}
	e.mu.Lock()
	found, ok := e.known[key]
	e.mu.Unlock()
	if ok {
		return found, nil
	}
	v, err := e.versions.Version(ctx, flow, number)
	if err != nil {
		return end{}, err
	}
	found = endOf(v.Spec)
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.known) >= maxEnds {
		clear(e.known)
	}
	e.known[key] = found
	return found, nil
}

func endOf(spec *flowv1.Flow) end {
	e := end{source: spec.GetSource().GetConnector()}
	for _, t := range receipt.Targets(spec) {
		e.targets = append(e.targets, targetEnd{name: t.GetName(), connector: t.GetConnector(), location: t.GetTable() + t.GetPrefix()})
	}
	return e
}

var flowVersion = regexp.MustCompile(`^([a-z][a-z0-9_-]{0,62}):v([1-9][0-9]{0,8})$`)

// parseVersion reads `flow:vN`.
func parseVersion(text string) (flow string, number int32, ok bool) {
	m := flowVersion.FindStringSubmatch(text)
	if m == nil {
		return "", 0, false
	}
	n, err := strconv.ParseInt(m[2], 10, 32)
	return m[1], int32(n), err == nil
}
