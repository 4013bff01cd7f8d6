package task

import (
	"fmt"
	"strings"
	"time"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

// noTime is a time that never was.
var noTime time.Time

// checkManifest refuses a manifest of another kind of task, of another part, or with objects that are not this
// attempt's. Only a load can name what an earlier attempt has staged: the rejects that stand in the target's marker.
func checkManifest(t store.Task, m *typev1.Manifest) error {
	refuse := func(format string, args ...any) error {
		return &ManifestError{TaskID: t.ID, Message: fmt.Sprintf(format, args...)}
	}
	var objects []*typev1.StagedObject
	below := StagingPrefix(t)
	switch t.Kind {
	case store.TaskStage:
		ingest := m.GetIngest()
		if ingest == nil {
			return refuse("a STAGE task needs an ingest manifest")
		}
		objects = append(objects, ingest.GetRejects())
		for i, p := range ingest.GetParts() {
			if p.GetData() == nil {
				return refuse("part %d has no data", i)
			}
			objects = append(objects, p.GetData(), p.GetLocations())
		}
		for _, ref := range ingest.GetReferences() {
			objects = append(objects, ref.GetData())
		}
	case store.TaskMap:
		part := m.GetPart()
		if part == nil || part.GetPart() != t.Part {
			return refuse("a MAP task needs the manifest of its part %d", t.Part)
		}
		objects = append(objects, part.GetMapped(), part.GetRejects(), part.GetKeys())
	case store.TaskClose:
		closing := m.GetClosing()
		if closing == nil {
			return refuse("a CLOSE task needs a closing manifest")
		}
		objects = append(objects, closing.GetDrops(), closing.GetRejects())
	default:
		if m.GetLoad() == nil {
			return refuse("a %s task needs a load manifest", t.Kind)
		}
		objects = append(objects, m.GetLoad().GetRejects())
		below = stagePrefix(t)
	}
	for _, o := range objects {
		if o != nil && !strings.HasPrefix(o.GetKey(), below) {
			return refuse("object %q is not below %s", o.GetKey(), below)
		}
	}
	return nil
}
