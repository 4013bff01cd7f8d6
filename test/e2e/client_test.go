package e2e_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"buf.build/go/protoyaml"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
)

// States that runs end in.
const (
	succeeded = controlv1.RunState_RUN_STATE_SUCCEEDED
	partial   = controlv1.RunState_RUN_STATE_PARTIAL_FAILED
	failed    = controlv1.RunState_RUN_STATE_FAILED
)

// patience is how long a run may take on a machine that does other things too.
const patience = 3 * time.Minute

// connector makes a connector.
func (i *installation) connector(t *testing.T, name, typ string, settings map[string]any, secrets map[string]string) {
	t.Helper()
	if i.byCommand {
		i.applyConnector(t, name, typ, settings, secrets)
		return
	}
	s, err := structpb.NewStruct(settings)
	require.NoError(t, err)
	_, err = i.connectors.CreateConnector(t.Context(), &controlv1.CreateConnectorRequest{
		ConnectorId: name, Connector: &controlv1.Connector{Type: typ, Settings: s, Secrets: secrets},
	})
	require.NoError(t, err)
}

// publish stores a flow written in YAML, publishes it, and returns its flow_version.
func (i *installation) publish(t *testing.T, yaml string) string {
	t.Helper()
	spec := parse(t, yaml)
	name := "flows/" + spec.GetName()
	_, err := i.flows.UpdateFlow(t.Context(), &controlv1.UpdateFlowRequest{
		Flow: &controlv1.Flow{Name: name, Spec: spec}, AllowMissing: true,
	})
	require.NoError(t, explained(err))
	version, err := i.flows.PublishFlow(t.Context(), &controlv1.PublishFlowRequest{Name: name})
	require.NoError(t, explained(err))
	return version.GetFlowVersion()
}

func parse(t *testing.T, yaml string) *flowv1.Flow {
	t.Helper()
	spec := &flowv1.Flow{}
	require.NoError(t, protoyaml.Unmarshal([]byte(yaml), spec), yaml)
	return spec
}

// create starts a run.
func (i *installation) create(t *testing.T, version, sourcePath string) *controlv1.Run {
	t.Helper()
	run, err := i.runs.CreateRun(t.Context(), &controlv1.CreateRunRequest{FlowVersion: version, SourcePath: sourcePath})
	require.NoError(t, explained(err))
	return run
}

// execute starts a run and waits for its end.
func (i *installation) execute(t *testing.T, version, sourcePath string) *controlv1.Run {
	t.Helper()
	return i.wait(t, i.create(t, version, sourcePath).GetName())
}

// wait follows a run to its end, over restarts of control.
func (i *installation) wait(t *testing.T, name string) *controlv1.Run {
	t.Helper()
	run := i.watch(t, name, func(run *controlv1.Run) bool { return final(run.GetRun().GetState()) })
	require.True(t, final(run.GetRun().GetState()), "run %s hangs in %s", name, run.GetRun().GetState())
	balanced(t, run)
	return run
}

// waitFor follows a run until it is in a state or beyond it, and returns it.
func (i *installation) waitFor(t *testing.T, name string, state controlv1.RunState) *controlv1.Run {
	t.Helper()
	return i.watch(t, name, func(run *controlv1.Run) bool { return run.GetRun().GetState() >= state })
}

func (i *installation) watch(t *testing.T, name string, enough func(*controlv1.Run) bool) *controlv1.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last *controlv1.Run
	for ctx.Err() == nil {
		stream, err := i.runs.WatchRun(ctx, &controlv1.WatchRunRequest{Name: name})
		for err == nil {
			var r *controlv1.WatchRunResponse
			if r, err = stream.Recv(); err == nil {
				if last = r.GetRun(); enough(last) {
					return last
				}
			}
		}
		if !errors.Is(err, io.EOF) {
			time.Sleep(100 * time.Millisecond) // Control restarts.
		}
	}
	t.Fatalf("run %s: not in %s; last seen: %v", name, patience, last)
	return nil
}

func final(s controlv1.RunState) bool { return s >= succeeded }

// rejects lists all rejects of a run.
func (i *installation) rejects(t *testing.T, name string) []*typev1.Reject {
	t.Helper()
	var (
		all   []*typev1.Reject
		token string
	)
	for {
		r, err := i.runs.ListRejects(t.Context(), &controlv1.ListRejectsRequest{Parent: name, PageSize: 100, PageToken: token})
		require.NoError(t, explained(err))
		all = append(all, r.GetRejects()...)
		if token = r.GetNextPageToken(); token == "" {
			return all
		}
	}
}

// balanced checks both equations of a receipt; see receipt.proto.
func balanced(t *testing.T, run *controlv1.Run) {
	t.Helper()
	state := run.GetRun().GetState()
	if state != succeeded && state != partial {
		return
	}
	c := run.GetReceipt().GetCounts()
	require.NotNil(t, c, "a committed run has a receipt")
	require.Equal(t, c.GetRead(), c.GetMalformed()+c.GetFiltered()+c.GetRejected()+c.GetDeduplicated()+c.GetMapped(), "%v", c)
	for _, target := range run.GetReceipt().GetTargets() {
		require.Equal(t, c.GetRowsToWrite(), target.GetWritten()+target.GetRefused(), "%v", target)
		require.Equal(t, "COMMITTED", target.GetOutcome())
	}
}

// inState requires a final state and shows the error of a run that is in another one.
func inState(t *testing.T, want controlv1.RunState, run *controlv1.Run) {
	t.Helper()
	require.Equal(t, want.String(), run.GetRun().GetState().String(), "error: %v\nreceipt: %v", run.GetError(), run.GetReceipt())
}

// explained shows the violations of an answer.
func explained(err error) error {
	if err == nil {
		return nil
	}
	f := fault.From(err)
	text := f.Error()
	for _, v := range f.Violations {
		text += "\n  " + v.Field + ": " + v.Message
	}
	return errors.New(text)
}
