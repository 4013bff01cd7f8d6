package control_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/internal/rpcclient"
)

const batch = "s3://in/batch-001.csv"

func (b *bundle) run(t *testing.T, version, path string) *controlv1.Run {
	t.Helper()
	r, err := b.runs().CreateRun(t.Context(), &controlv1.CreateRunRequest{FlowVersion: version, SourcePath: path})
	require.NoError(t, err)
	return r
}

// claim takes a task as its worker would after a wake-up.
func (b *bundle) claim(t *testing.T, taskID string, stage typev1.Stage) *controlv1.Task {
	t.Helper()
	resp, err := b.tasks(t).Claim(t.Context(), &controlv1.ClaimRequest{TaskId: taskID, Stage: stage, Worker: "w"})
	require.NoError(t, err)
	return resp.GetTask()
}

func proof(task *controlv1.Task) *controlv1.Claim {
	return &controlv1.Claim{TaskId: task.GetTaskId(), Attempt: task.GetAttempt(), Fence: task.GetFence()}
}

func TestARunGoesThroughItsStagesByTheHandsOfWorkers(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	b.publish(t, newSpec("cleaner"))
	code, body := b.rest(t, "POST", "/v1/runs", `{"flow_version":"cleaner:v1","source_path":"`+batch+`","run_metadata":{"order":7}}`)
	require.Equal(t, 200, code, body)
	run := &controlv1.Run{}
	require.NoError(t, protojson.Unmarshal([]byte(body), run))
	id := run.GetRun().GetRunId()
	require.Equal(t, "cleaner:v1", run.GetRun().GetFlowVersion())
	require.Equal(t, "inbox", run.GetSource().GetConnector())
	require.Equal(t, "public.invoices", run.GetTarget().GetLocation())

	watch, err := b.runs().WatchRun(t.Context(), &controlv1.WatchRunRequest{Name: run.GetName()})
	require.NoError(t, err)
	first, err := watch.Recv()
	require.NoError(t, err)
	require.Equal(t, id, first.GetRun().GetRun().GetRunId())

	task := b.claim(t, id+".stage.0", typev1.Stage_STAGE_INGEST)
	require.Equal(t, "k", task.GetConnectors()["inbox"].GetSecrets()["secret_key"])
	require.NotContains(t, task.GetConnectors(), "warehouse")
	require.InDelta(t, 7, task.GetRun().GetRunMetadata().AsMap()["order"], 0)
	require.True(t, strings.HasPrefix(task.GetStagingPrefix(), "runs/"+id+"/ingest/1-"), task.GetStagingPrefix())
	_, err = b.tasks(t).Claim(t.Context(), &controlv1.ClaimRequest{TaskId: task.GetTaskId(), Stage: typev1.Stage_STAGE_INGEST, Worker: "other"})
	requireFault(t, err, "FAILED_PRECONDITION", "NOT_CLAIMABLE")
	beat, err := b.tasks(t).Heartbeat(t.Context(), &controlv1.HeartbeatRequest{Claim: proof(task), Rows: 1})
	require.NoError(t, err)
	require.Greater(t, beat.GetLease().AsDuration(), time.Duration(0))

	stale := proof(task)
	stale.Fence++
	_, err = b.tasks(t).Complete(t.Context(), &controlv1.CompleteRequest{Claim: stale, Manifest: &typev1.Manifest{Output: &typev1.Manifest_Ingest{Ingest: &typev1.IngestManifest{}}}})
	requireFault(t, err, "ABORTED", "FENCED")
	_, err = b.tasks(t).Complete(t.Context(), &controlv1.CompleteRequest{Claim: proof(task), Manifest: &typev1.Manifest{Output: &typev1.Manifest_Part{Part: &typev1.PartManifest{}}}})
	requireFault(t, err, "INVALID_ARGUMENT", "INVALID_MANIFEST")
	_, err = b.tasks(t).Fail(t.Context(), &controlv1.FailRequest{Claim: proof(task), ReceiptJson: "{", Error: &typev1.Error{Code: "INTERNAL"}})
	require.Equal(t, []string{"receipt_json INVALID_VALUE"}, fields(requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")))

	// The batch does not exist: the run fails, and everybody sees why.
	_, err = b.tasks(t).Fail(t.Context(), &controlv1.FailRequest{Claim: proof(task), Error: &typev1.Error{
		Code: "NOT_FOUND", Reason: "SOURCE_OBJECT_NOT_FOUND", Message: "there is no such object",
	}})
	require.NoError(t, err)
	var last *controlv1.WatchRunResponse
	for {
		m, err := watch.Recv()
		if err != nil {
			break
		}
		last = m
	}
	require.Equal(t, controlv1.RunState_RUN_STATE_FAILED, last.GetRun().GetRun().GetState())
	got, err := b.runs().GetRun(t.Context(), &controlv1.GetRunRequest{Name: run.GetName()})
	require.NoError(t, err)
	require.Equal(t, "SOURCE_OBJECT_NOT_FOUND", got.GetError().GetReason())
	require.Equal(t, typev1.Stage_STAGE_INGEST, got.GetError().GetStage())
	require.NotNil(t, got.GetRun().GetEndTime())
	_, err = b.runs().CancelRun(t.Context(), &controlv1.CancelRunRequest{Name: run.GetName()})
	requireFault(t, err, "FAILED_PRECONDITION", "RUN_ENDED")
	rejects, err := b.runs().ListRejects(t.Context(), &controlv1.ListRejectsRequest{Parent: run.GetName()})
	require.NoError(t, err)
	require.Empty(t, rejects.GetRejects())
}

func TestABatchHasOnePathAndNoSecretInIt(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	b.createConnector(t, "lake", "lake", `{}`, nil)
	flow := newSpec("cleaner")
	flow.Source.Connector = "lake"
	b.publish(t, flow)
	code, body := b.rest(t, "POST", "/v1/runs", `{"flow_version":"cleaner:v1","source_path":"https://lake.example/1.csv?sig=canary"}`)
	require.Equal(t, 400, code, body)
	require.NotContains(t, body, "canary")
	_, err := b.runs().CreateRun(t.Context(), &controlv1.CreateRunRequest{FlowVersion: "cleaner:v1", SourcePath: "lake://1.csv?sig=canary"})
	e := requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")
	require.Equal(t, []string{"source_path INVALID_SOURCE_PATH"}, fields(e))
	require.NotContains(t, e.String(), "canary")
	require.NotEmpty(t, e.GetNextAction())
	runs, err := b.runs().ListRuns(t.Context(), &controlv1.ListRunsRequest{})
	require.NoError(t, err)
	require.Empty(t, runs.GetRuns())

	first, err := b.runs().CreateRun(t.Context(), &controlv1.CreateRunRequest{FlowVersion: "cleaner:v1", SourcePath: "https://lake.example/1.csv"})
	require.NoError(t, err)
	require.Equal(t, "lake://1.csv", first.GetRun().GetSourcePath())
	_, err = b.runs().CreateRun(t.Context(), &controlv1.CreateRunRequest{FlowVersion: "cleaner:v1", SourcePath: "lake://1.csv"})
	require.Equal(t, first.GetRun().GetRunId(), requireFault(t, err, "ALREADY_EXISTS", "DUPLICATE_RUN").GetMetadata()["run_id"])
}

func TestABatchThatIsInFlightIsNotRunTwice(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	b.publish(t, newSpec("cleaner"))
	req := &controlv1.CreateRunRequest{FlowVersion: "cleaner:v1", SourcePath: batch, RequestId: "r-1"}
	first, err := b.runs().CreateRun(t.Context(), req)
	require.NoError(t, err)
	again, err := b.runs().CreateRun(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, first.GetName(), again.GetName(), "a known request_id answers with its run")

	code, body := b.rest(t, "POST", "/v1/runs", `{"flow_version":"cleaner:v1","source_path":"`+batch+`"}`, "Idempotency-Key", "r-1")
	require.Equal(t, 200, code, body)
	require.Contains(t, body, first.GetName(), "the header is as good as the field")
	code, body = b.rest(t, "POST", "/v1/runs", `{"flow_version":"cleaner:v1","source_path":"x","request_id":"r-2"}`, "Idempotency-Key", "r-3")
	require.Equal(t, 400, code, body)

	req.RequestId, req.ForceRerun = "", true
	_, err = b.runs().CreateRun(t.Context(), req)
	e := requireFault(t, err, "ALREADY_EXISTS", "DUPLICATE_RUN")
	require.Equal(t, first.GetRun().GetRunId(), e.GetMetadata()["run_id"])
	code, body = b.rest(t, "POST", "/v1/runs", `{"flow_version":"cleaner:v1","source_path":"`+batch+`"}`)
	require.Equal(t, 409, code, body)
	require.Contains(t, body, first.GetRun().GetRunId())

	_, err = b.runs().CreateRun(t.Context(), &controlv1.CreateRunRequest{FlowVersion: "cleaner:v1", SourcePath: "other", RequestId: "r-1"})
	requireFault(t, err, "INVALID_ARGUMENT", "REQUEST_ID_REUSED")
	_, err = b.connectors().DeleteConnector(t.Context(), &controlv1.DeleteConnectorRequest{Name: "connectors/warehouse"})
	require.Equal(t, first.GetRun().GetRunId(), requireFault(t, err, "FAILED_PRECONDITION", "CONNECTOR_IN_USE").GetMetadata()["run_id"])

	cancelled, err := b.runs().CancelRun(t.Context(), &controlv1.CancelRunRequest{Name: first.GetName()})
	require.NoError(t, err)
	require.Equal(t, controlv1.RunState_RUN_STATE_FAILED, cancelled.GetRun().GetState())
	require.Equal(t, "CANCELLED", cancelled.GetError().GetReason())
	_, err = b.connectors().DeleteConnector(t.Context(), &controlv1.DeleteConnectorRequest{Name: "connectors/warehouse"})
	require.NoError(t, err)
	_, err = b.runs().CreateRun(t.Context(), &controlv1.CreateRunRequest{FlowVersion: "cleaner:v1", SourcePath: batch})
	require.Equal(t, "warehouse", requireFault(t, err, "NOT_FOUND", "CONNECTOR_NOT_FOUND").GetMetadata()["connector"])
}

// toLoads brings a run of an empty batch to where its targets can be loaded.
func (b *bundle) toLoads(t *testing.T, id string) {
	t.Helper()
	task := b.claim(t, id+".stage.0", typev1.Stage_STAGE_INGEST)
	_, err := b.tasks(t).Complete(t.Context(), &controlv1.CompleteRequest{Claim: proof(task), Manifest: &typev1.Manifest{
		Output: &typev1.Manifest_Ingest{Ingest: &typev1.IngestManifest{}},
	}})
	require.NoError(t, err)
}

// commit completes the load of a target.
func (b *bundle) commit(t *testing.T, taskID string) {
	t.Helper()
	task := b.claim(t, taskID, typev1.Stage_STAGE_EGRESS)
	r := receipt.Build(task)
	r.GetTargets()[0].Outcome = receipt.Committed
	text, err := protojson.Marshal(r)
	require.NoError(t, err)
	_, err = b.tasks(t).Complete(t.Context(), &controlv1.CompleteRequest{Claim: proof(task), Manifest: &typev1.Manifest{
		Output: &typev1.Manifest_Load{Load: &typev1.LoadManifest{ReceiptJson: string(text)}},
	}})
	require.NoError(t, err)
}

func TestARunWithATargetThatFailedIsResumed(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	spec := newSpec("cleaner")
	second := proto.CloneOf(spec.GetTarget())
	second.Name, second.Table = "copy", "public.copies"
	spec.Targets, spec.Target = []*flowv1.Target{spec.GetTarget(), second}, nil
	b.publish(t, spec)
	run := b.run(t, "cleaner:v1", batch)
	id := run.GetRun().GetRunId()
	_, err := b.runs().ResumeRun(t.Context(), &controlv1.ResumeRunRequest{Name: run.GetName()})
	require.Contains(t, requireFault(t, err, "FAILED_PRECONDITION", "RUN_IN_FLIGHT").GetNextAction(), "lume runs watch")
	b.toLoads(t, id)
	b.commit(t, id+".load.0")
	task := b.claim(t, id+".load.1", typev1.Stage_STAGE_EGRESS)
	require.EqualValues(t, 1, task.GetPart())
	_, err = b.tasks(t).Fail(t.Context(), &controlv1.FailRequest{Claim: proof(task), Error: &typev1.Error{
		Code: "NOT_FOUND", Reason: "TABLE_NOT_FOUND", Message: "there is no such table", NextAction: "create it",
	}})
	require.NoError(t, err)

	got, err := b.runs().GetRun(t.Context(), &controlv1.GetRunRequest{Name: run.GetName()})
	require.NoError(t, err)
	require.Equal(t, controlv1.RunState_RUN_STATE_FAILED, got.GetRun().GetState())
	require.Equal(t, "create it; then resume the run: lume runs resume "+id, got.GetError().GetNextAction())
	targets := got.GetTarget().GetTargets()
	require.Equal(t, []string{"main COMMITTED public.invoices", "copy ABORTED public.copies"}, []string{
		targets[0].GetName() + " " + targets[0].GetOutcome() + " " + targets[0].GetLocation(),
		targets[1].GetName() + " " + targets[1].GetOutcome() + " " + targets[1].GetLocation(),
	})
	require.EqualValues(t, 2, got.GetTarget().GetProgress().GetTasksTotal(), "over all targets")
	require.EqualValues(t, 1, got.GetTarget().GetProgress().GetTasksDone())
	require.Equal(t, "TABLE_NOT_FOUND", got.GetReceipt().GetTargets()[1].GetError().GetReason())

	_, err = b.runs().CreateRun(t.Context(), &controlv1.CreateRunRequest{FlowVersion: "cleaner:v1", SourcePath: batch})
	e := requireFault(t, err, "ALREADY_EXISTS", "DUPLICATE_RUN")
	require.Equal(t, "PARTIAL", e.GetMetadata()["outcome"])
	require.Contains(t, e.GetNextAction(), "lume runs resume "+id)

	code, body := b.rest(t, "POST", "/v1/"+run.GetName()+":resume", "{}", "Idempotency-Key", "again")
	require.Equal(t, 200, code, body)
	resumed := &controlv1.Run{}
	require.NoError(t, protojson.Unmarshal([]byte(body), resumed))
	require.Equal(t, controlv1.RunState_RUN_STATE_SYNCING_TARGET, resumed.GetRun().GetState())
	require.Nil(t, resumed.GetError())
	code, body = b.rest(t, "POST", "/v1/"+run.GetName()+":resume", `{"request_id":"again"}`)
	require.Equal(t, 200, code, body)
	code, body = b.rest(t, "POST", "/v1/"+run.GetName()+":resume", `{"request_id":"another"}`)
	require.Equal(t, 400, code, body)
	require.Contains(t, body, "RUN_IN_FLIGHT")

	b.commit(t, id+".load.1")
	got, err = b.runs().GetRun(t.Context(), &controlv1.GetRunRequest{Name: run.GetName()})
	require.NoError(t, err)
	require.Equal(t, controlv1.RunState_RUN_STATE_SUCCEEDED, got.GetRun().GetState())
	_, err = b.runs().ResumeRun(t.Context(), &controlv1.ResumeRunRequest{Name: run.GetName()})
	requireFault(t, err, "FAILED_PRECONDITION", "NOTHING_TO_RESUME")

	other := b.run(t, "cleaner:v1", "s3://in/other.csv")
	_, err = b.runs().CancelRun(t.Context(), &controlv1.CancelRunRequest{Name: other.GetName()})
	require.NoError(t, err)
	_, err = b.runs().ResumeRun(t.Context(), &controlv1.ResumeRunRequest{Name: other.GetName()})
	require.Equal(t, "run the batch again", requireFault(t, err, "FAILED_PRECONDITION", "RUN_NOT_RESUMABLE").GetNextAction())

	reader, err := b.keys().CreateApiKey(t.Context(), &controlv1.CreateApiKeyRequest{DisplayName: "r", Scopes: []string{"read"}})
	require.NoError(t, err)
	_, err = controlv1.NewRunServiceClient(b.dial(t, rpcclient.Config{APIKey: reader.GetKey()})).
		ResumeRun(t.Context(), &controlv1.ResumeRunRequest{Name: run.GetName()})
	require.Equal(t, "run", requireFault(t, err, "PERMISSION_DENIED", "PERMISSION_DENIED").GetMetadata()["scope"])
}

func TestRunsOfWhatDoesNotExistAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	b.publish(t, newSpec("cleaner"))
	for version, reason := range map[string]string{
		"cleaner:v9": "VERSION_NOT_FOUND", "nothing:v1": "VERSION_NOT_FOUND", "cleaner:production": "ALIAS_NOT_FOUND",
	} {
		_, err := b.runs().CreateRun(t.Context(), &controlv1.CreateRunRequest{FlowVersion: version, SourcePath: "x"})
		requireFault(t, err, "NOT_FOUND", reason)
	}
	const none = "runs/run_01ARZ3NDEKTSV4RRFFQ69G5FAV"
	_, err := b.runs().GetRun(t.Context(), &controlv1.GetRunRequest{Name: none})
	requireFault(t, err, "NOT_FOUND", "RUN_NOT_FOUND")
	_, err = b.runs().CancelRun(t.Context(), &controlv1.CancelRunRequest{Name: none})
	requireFault(t, err, "NOT_FOUND", "RUN_NOT_FOUND")
	_, err = b.runs().ResumeRun(t.Context(), &controlv1.ResumeRunRequest{Name: none})
	requireFault(t, err, "NOT_FOUND", "RUN_NOT_FOUND")
	_, err = b.runs().ListRejects(t.Context(), &controlv1.ListRejectsRequest{Parent: none})
	requireFault(t, err, "NOT_FOUND", "RUN_NOT_FOUND")
	stream, err := b.runs().WatchRun(t.Context(), &controlv1.WatchRunRequest{Name: none})
	require.NoError(t, err)
	_, err = stream.Recv()
	requireFault(t, err, "NOT_FOUND", "RUN_NOT_FOUND")
	_, err = b.tasks(t).Claim(t.Context(), &controlv1.ClaimRequest{TaskId: "run_01ARZ3NDEKTSV4RRFFQ69G5FAV.stage.0", Stage: typev1.Stage_STAGE_INGEST, Worker: "w"})
	requireFault(t, err, "FAILED_PRECONDITION", "NOT_CLAIMABLE")
	code, body := b.rest(t, "POST", "/v1/runs", `{"flow_version":"cleaner:v1","source_path":"x","run_metadata":{"a":"`+strings.Repeat("x", 17<<10)+`"}}`)
	require.Equal(t, 400, code, body)
	require.Contains(t, body, "run_metadata")
}

func TestRunsAreListedByWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	b.publish(t, newSpec("cleaner"))
	b.publish(t, newSpec("other"))
	for _, path := range []string{"1", "2", "3"} {
		b.run(t, "cleaner:v1", path)
	}
	b.run(t, "other:v1", "1")
	list := func(req *controlv1.ListRunsRequest) []string {
		t.Helper()
		var out []string
		for {
			resp, err := b.runs().ListRuns(t.Context(), req)
			require.NoError(t, err)
			for _, r := range resp.GetRuns() {
				out = append(out, r.GetRun().GetFlowVersion()+" "+r.GetRun().GetSourcePath())
			}
			if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
				return out
			}
		}
	}
	require.Len(t, list(&controlv1.ListRunsRequest{PageSize: 2}), 4)
	require.Equal(t, []string{"cleaner:v1 3", "cleaner:v1 2", "cleaner:v1 1"}, list(&controlv1.ListRunsRequest{Flow: "cleaner", PageSize: 1}))
	require.Equal(t, []string{"other:v1 1"}, list(&controlv1.ListRunsRequest{FlowVersion: "other:v1"}))
	require.Equal(t, []string{"other:v1 1", "cleaner:v1 1"}, list(&controlv1.ListRunsRequest{SourcePath: "1"}))
	require.Empty(t, list(&controlv1.ListRunsRequest{States: []controlv1.RunState{controlv1.RunState_RUN_STATE_FAILED}}))
	require.Len(t, list(&controlv1.ListRunsRequest{States: []controlv1.RunState{controlv1.RunState_RUN_STATE_CREATED}}), 4)
	require.Empty(t, list(&controlv1.ListRunsRequest{CreatedAfter: timestamppb.New(time.Now().Add(time.Hour))}))
	_, err := b.runs().ListRuns(t.Context(), &controlv1.ListRunsRequest{FlowVersion: "cleaner:production"})
	require.Equal(t, []string{"flow_version INVALID_VALUE"}, fields(requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")))
	first, err := b.runs().ListRuns(t.Context(), &controlv1.ListRunsRequest{PageSize: 1})
	require.NoError(t, err)
	_, err = b.runs().ListRuns(t.Context(), &controlv1.ListRunsRequest{PageSize: 1, Flow: "cleaner", PageToken: first.GetNextPageToken()})
	requireFault(t, err, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
}

func TestAWatchOverRESTIsOneLinePerChange(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	b.publish(t, newSpec("cleaner"))
	run := b.run(t, "cleaner:v1", batch)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.service.HTTPAddr()+"/v1/"+run.GetName()+":watch", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+b.key)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	var states []string
	for scanner := bufio.NewScanner(resp.Body); scanner.Scan(); {
		var line struct {
			Result struct {
				Run struct {
					Run struct{ State string }
				}
			}
		}
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &line), scanner.Text())
		states = append(states, line.Result.Run.Run.State)
		if len(states) == 1 {
			_, err := b.runs().CancelRun(t.Context(), &controlv1.CancelRunRequest{Name: run.GetName()})
			require.NoError(t, err)
		}
	}
	require.Equal(t, "RUN_STATE_CREATED", states[0])
	require.Equal(t, "RUN_STATE_FAILED", states[len(states)-1])
}

func TestKeysOpenWhatTheirScopeSaysUntilTheyAreRevoked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	created, err := b.keys().CreateApiKey(t.Context(), &controlv1.CreateApiKeyRequest{DisplayName: "app", Scopes: []string{"run"}})
	require.NoError(t, err)
	conn := b.dial(t, rpcclient.Config{APIKey: created.GetKey()})
	_, err = controlv1.NewRunServiceClient(conn).ListRuns(t.Context(), &controlv1.ListRunsRequest{})
	require.NoError(t, err)
	_, err = controlv1.NewConnectorServiceClient(conn).DeleteConnector(t.Context(), &controlv1.DeleteConnectorRequest{Name: "connectors/x"})
	require.Equal(t, "edit", requireFault(t, err, "PERMISSION_DENIED", "PERMISSION_DENIED").GetMetadata()["scope"])
	_, err = controlv1.NewTaskServiceClient(conn).CheckApiKey(t.Context(), &controlv1.CheckApiKeyRequest{Key: "x"})
	requireFault(t, err, "PERMISSION_DENIED", "PERMISSION_DENIED")

	checked, err := b.tasks(t).CheckApiKey(t.Context(), &controlv1.CheckApiKeyRequest{Key: created.GetKey()})
	require.NoError(t, err)
	require.Equal(t, []string{"run"}, checked.GetScopes())
	require.Equal(t, 30*time.Second, checked.GetTtl().AsDuration())

	revoked, err := b.keys().RevokeApiKey(t.Context(), &controlv1.RevokeApiKeyRequest{Name: created.GetApiKey().GetName()})
	require.NoError(t, err)
	require.NotNil(t, revoked.GetRevokeTime())
	_, err = controlv1.NewRunServiceClient(conn).ListRuns(t.Context(), &controlv1.ListRunsRequest{})
	requireFault(t, err, "UNAUTHENTICATED", "UNAUTHENTICATED")
	_, err = b.tasks(t).CheckApiKey(t.Context(), &controlv1.CheckApiKeyRequest{Key: created.GetKey()})
	requireFault(t, err, "UNAUTHENTICATED", "API_KEY_INVALID")

	list, err := b.keys().ListApiKeys(t.Context(), &controlv1.ListApiKeysRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetApiKeys(), 2)
	admin := list.GetApiKeys()[1]
	require.Equal(t, "bootstrap", admin.GetDisplayName())
	require.NotNil(t, admin.GetLastUseTime())
	_, err = b.keys().RevokeApiKey(t.Context(), &controlv1.RevokeApiKeyRequest{Name: admin.GetName()})
	requireFault(t, err, "FAILED_PRECONDITION", "LAST_ADMIN_KEY")
	_, err = b.keys().RevokeApiKey(t.Context(), &controlv1.RevokeApiKeyRequest{Name: "apiKeys/000000000000"})
	requireFault(t, err, "NOT_FOUND", "API_KEY_NOT_FOUND")
	_, err = b.keys().CreateApiKey(t.Context(), &controlv1.CreateApiKeyRequest{DisplayName: "x", Scopes: []string{"read"}, ExpireTime: timestamppb.New(time.Now().Add(-time.Second))})
	require.Equal(t, []string{"expire_time PAST"}, fields(requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")))

	stranger := b.dial(t, rpcclient.Config{})
	_, err = controlv1.NewRunServiceClient(stranger).ListRuns(t.Context(), &controlv1.ListRunsRequest{}, grpc.WaitForReady(true))
	requireFault(t, err, "UNAUTHENTICATED", "UNAUTHENTICATED")
}
