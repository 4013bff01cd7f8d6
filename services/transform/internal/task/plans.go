package task

import (
	"container/list"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/services/transform/internal/compile"
)

// compiler compiles flows; see compile.Compiler.
type compiler interface {
	Compile(ctx context.Context, spec *flowv1.Flow, source compile.Source) (*compile.Result, error)
}

// plans compiles flows and remembers the last of them, since all parts of a run have the same plan.
type plans struct {
	compiler compiler

	mu     sync.Mutex
	byKey  map[[sha256.Size]byte]*list.Element
	recent list.List
}

const mostPlans = 256

type remembered struct {
	key  [sha256.Size]byte
	plan *compile.Plan
}

func newPlans(c compiler) *plans {
	return &plans{compiler: c, byKey: map[[sha256.Size]byte]*list.Element{}}
}

// plan returns the plan of a flow for a source, or the error of a run that has none.
func (p *plans) plan(ctx context.Context, spec *flowv1.Flow, source compile.Source) (*compile.Plan, error) {
	flow, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("marshal the flow: %w", err)
	}
	// The text of a map is sorted by key.
	key := sha256.Sum256(append(flow, fmt.Sprintf("%q", fmt.Sprintf("%+v", source))...))
	p.mu.Lock()
	if e, ok := p.byKey[key]; ok {
		p.recent.MoveToFront(e)
		p.mu.Unlock()
		return e.Value.(remembered).plan, nil
	}
	p.mu.Unlock()
	result, err := p.compiler.Compile(ctx, spec, source)
	if err != nil {
		return nil, coded(err)
	}
	if len(result.Problems) > 0 {
		return nil, flowFault(result.Problems, source)
	}
	if result.Plan == nil {
		return nil, imbalance("the flow has no plan although its source is known")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.byKey[key]; !ok {
		p.byKey[key] = p.recent.PushFront(remembered{key, result.Plan})
		if p.recent.Len() > mostPlans {
			last := p.recent.Back()
			p.recent.Remove(last)
			delete(p.byKey, last.Value.(remembered).key)
		}
	}
	return result.Plan, nil
}
