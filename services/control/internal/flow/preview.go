package flow

import (
	"context"
	"crypto/rand"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	ingestv1 "github.com/lume-data/lume/gen/lume/ingest/v1"
	transformv1 "github.com/lume-data/lume/gen/lume/transform/v1"
)

const (
	defaultPreview = 100
	// cleanTimeout bounds the deletion of what a preview staged; the sweeper deletes what is left.
	cleanTimeout = 10 * time.Second
	// previewTime bounds a preview.
	previewTime = time.Minute
)

// Preview maps the first records of a batch with a draft, or with the stored flow if draft is nil, and touches no target.
func (s *Service) Preview(ctx context.Context, name string, draft *flowv1.Flow, sourcePath string, records int32) (*transformv1.PreviewResponse, error) {
	spec, prefix := draft, "spec."
	if spec == nil {
		f, err := s.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		spec = f.Spec
	}
	compiled, err := s.compile(ctx, prefix, spec)
	if err != nil {
		return nil, err
	}
	configs, err := s.Connectors.Configs(ctx, s.Store, sourceConnectorsOf(spec))
	if err != nil {
		return nil, err
	}
	if records == 0 {
		records = defaultPreview
	}
	id := rand.Text()
	defer s.clean(ctx, id)
	manifest, err := s.Sampler.Sample(ctx, &ingestv1.SampleRequest{
		PreviewId: id, Spec: spec, Connectors: configs, SourcePath: sourcePath, MaxRecords: records,
		SourceColumns: compiled.GetSourceColumns(),
	})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return s.Compiler.Preview(ctx, &transformv1.PreviewRequest{
		Spec: spec, Ingest: manifest,
		Run: &controlv1.TaskRun{
			RunId: "preview_" + id, Flow: spec.GetName(), FlowVersion: spec.GetName() + ":draft", SourcePath: sourcePath,
			CreateTime: timestamppb.New(now), Deadline: timestamppb.New(now.Add(previewTime)),
		},
	})
}

func (s *Service) clean(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	_ = s.Staging.DeletePrefix(ctx, "previews/"+id+"/") // What is left is swept by age.
}
