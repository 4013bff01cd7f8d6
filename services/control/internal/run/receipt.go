package run

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Manifests is what the tasks of a run have committed so far.
type Manifests struct {
	// Ingest is nil until the STAGE task is done. Its parts are complete.
	Ingest *typev1.IngestManifest
	// Parts are those of MAP tasks that are done, in order.
	Parts []*typev1.PartManifest
	// Closing is nil without a CLOSE task that is done.
	Closing *typev1.ClosingManifest
}

// Counts adds up the records.
func (m Manifests) Counts() *typev1.RecordCounts { return receipt.Counts(m.Ingest, m.Parts, m.Closing) }

// ReadManifests reads what the tasks of a run have committed.
func ReadManifests(ctx context.Context, r store.Reader, runID string) (Manifests, error) {
	tasks, err := r.Tasks(ctx, runID, store.TaskStage, store.TaskMap, store.TaskClose)
	if err != nil {
		return Manifests{}, err
	}
	var m Manifests
	for _, t := range tasks {
		switch t.Kind {
		case store.TaskStage:
			m.Ingest = t.Manifest.GetIngest()
		case store.TaskMap:
			if m.Ingest != nil {
				m.Ingest.Parts = append(m.Ingest.Parts, t.Input)
			}
			if part := t.Manifest.GetPart(); part != nil {
				m.Parts = append(m.Parts, part)
			}
		case store.TaskClose:
			m.Closing = t.Manifest.GetClosing()
		}
	}
	return m, nil
}

// receiptTask is what the receipt of the run is made from; nil if ingest has not committed yet.
func (c *Change) receiptTask(ctx context.Context) (*controlv1.Task, error) {
	m, err := ReadManifests(ctx, c.tx, c.Run.ID)
	if err != nil || m.Ingest == nil {
		return nil, err
	}
	version, err := c.tx.Version(ctx, c.Run.Flow, c.Run.Version)
	if err != nil {
		return nil, err
	}
	return &controlv1.Task{
		Run: &controlv1.TaskRun{
			RunId: c.Run.ID, Flow: c.Run.Flow, FlowVersion: c.Run.FlowVersion(), VersionDigest: c.Run.VersionDigest,
			SourcePath: c.Run.SourcePath, CreateTime: timestamppb.New(c.Run.CreateTime),
		},
		Spec: version.Spec, Ingest: m.Ingest, Parts: m.Parts, Closing: m.Closing,
	}, nil
}

// partialReceipt gives a run that ends before its targets the receipt as far as it is known.
func (c *Change) partialReceipt(task *controlv1.Task) {
	r := receipt.Build(task)
	r.Targets, r.OutputDigest = nil, ""
	c.Run.Receipt, c.counts, c.dirty = r, r.GetCounts(), true
}
