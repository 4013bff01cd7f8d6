package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
)

const (
	stateFailed    = controlv1.RunState_RUN_STATE_FAILED
	stateCrashed   = controlv1.RunState_RUN_STATE_CRASHED
	statePartial   = controlv1.RunState_RUN_STATE_PARTIAL_FAILED
	stateSucceeded = controlv1.RunState_RUN_STATE_SUCCEEDED
)

func TestTheExitCodeSaysHowARunEnded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state controlv1.RunState
		flags []string
		code  int
	}{
		"succeeded":                   {stateSucceeded, nil, ExitOK},
		"partial failed":              {statePartial, nil, ExitOK},
		"partial failed, not wanted":  {statePartial, []string{"--fail-on-rejects"}, ExitRejects},
		"failed":                      {stateFailed, nil, ExitFailed},
		"crashed":                     {stateCrashed, nil, ExitCrashed},
		"succeeded, told as JSON":     {stateSucceeded, []string{"-o", "json"}, ExitOK},
		"failed, told as YAML, quiet": {stateFailed, []string{"-o", "yaml", "-q"}, ExitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute(t, &control{streams: [][]*controlv1.WatchRunResponse{last(c.state)}},
				append([]string{"run", "invoices:v4", "s3://in/a.csv", "--wait"}, c.flags...)...)
			require.Equal(t, c.code, got.code, got.err)
			require.Contains(t, got.out, runID)
		})
	}
}

func TestARunWithoutWaitPrintsOnlyItsID(t *testing.T) {
	t.Parallel()
	server := &control{}
	got := execute(t, server, "run", "invoices:production", "s3://in/a.csv", "--metadata", `{"order": 17}`, "--request-id", "r1", "--force")
	require.Equal(t, result{code: ExitOK, out: runID + "\n"}, got)
	require.EqualValues(t, 17, server.created.GetRunMetadata().GetFields()["order"].GetNumberValue())
	require.True(t, server.created.GetForceRerun())
	require.Equal(t, "r1", server.created.GetRequestId())
}

func TestAResumedRunIsFollowedAsANewOneIs(t *testing.T) {
	t.Parallel()
	for state, code := range map[controlv1.RunState]int{statePartial: ExitRejects, stateFailed: ExitFailed, stateCrashed: ExitCrashed, stateSucceeded: ExitOK} {
		server := &control{streams: [][]*controlv1.WatchRunResponse{last(state)}}
		got := execute(t, server, "runs", "resume", runID, "--wait", "--fail-on-rejects", "--request-id", "r1")
		require.Equal(t, code, got.code, got.err)
		require.Contains(t, got.out, "Records read")
		require.Equal(t, "runs/"+runID, server.resumed.GetName())
		require.Equal(t, "r1", server.resumed.GetRequestId())
	}
	got := execute(t, &control{}, "runs", "resume", runID)
	require.Equal(t, result{code: ExitOK, out: runID + "\n"}, got)
}

func TestARunShowsEachOfItsTargets(t *testing.T) {
	t.Parallel()
	statuses := func(outcomes ...string) *controlv1.RunTarget {
		p := &controlv1.RunTarget{}
		for i, outcome := range outcomes {
			p.Targets = append(p.Targets, &controlv1.TargetStatus{
				Name: []string{"warehouse", "lake"}[i], Connector: "c", Outcome: outcome, Progress: &controlv1.StageProgress{Rows: 7},
			})
		}
		return p
	}
	going, ended := run(controlv1.RunState_RUN_STATE_SYNCING_TARGET), run(stateFailed)
	going.Target, ended.Target = statuses("COMMITTED", ""), statuses("COMMITTED", "ABORTED")
	ended.Receipt.Targets = append(ended.Receipt.Targets, &typev1.TargetReceipt{
		Target: "lake", Outcome: "ABORTED", Error: &typev1.Error{Message: "the bucket is not there", Reason: "BUCKET_NOT_FOUND"},
	})
	begun := run(controlv1.RunState_RUN_STATE_SYNCING_TARGET)
	begun.Target = statuses("", "")
	got := execute(t, &control{streams: [][]*controlv1.WatchRunResponse{{{Run: begun}, {Run: going}, {Run: ended}}}}, "runs", "watch", runID)
	require.Equal(t, ExitFailed, got.code)
	require.Contains(t, got.err, "0 of 2 targets committed")
	require.Contains(t, got.err, "1 of 2 targets committed")
	require.Contains(t, got.out, "the bucket is not there (BUCKET_NOT_FOUND)")
	listed := execute(t, &control{runs: []*controlv1.Run{going}}, "runs", "list")
	require.Contains(t, listed.out, "1/2")
	table := execute(t, &control{runs: []*controlv1.Run{going}}, "runs", "get", runID)
	require.Regexp(t, `Target warehouse +c +COMMITTED`, table.out)
	require.Regexp(t, `Target lake +c +LOADING`, table.out)
}

func TestAnExistingLocalFileBecomesItsURI(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "batch one.csv")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	server := &control{}
	require.Zero(t, execute(t, server, "run", "invoices:v1", path).code)
	require.Equal(t, "file://"+strings.ReplaceAll(path, " ", "%20"), server.created.GetSourcePath())
	require.Zero(t, execute(t, server, "run", "invoices:v1", "batch-of-a-database").code)
	require.Equal(t, "batch-of-a-database", server.created.GetSourcePath())
	require.Zero(t, execute(t, server, "flows", "preview", "invoices", path).code)
	require.Equal(t, "file://"+strings.ReplaceAll(path, " ", "%20"), server.previewed.GetSourcePath())
}

func TestWaitingSurvivesARestartOfControl(t *testing.T) {
	t.Parallel()
	got := execute(t, &control{streams: [][]*controlv1.WatchRunResponse{
		{progress(controlv1.RunState_RUN_STATE_SYNCING_SOURCE, 10_000)},
		{},
		last(statePartial),
	}}, "runs", "watch", runID)
	require.Equal(t, ExitOK, got.code, got.err)
	require.Contains(t, got.err, "SYNCING_SOURCE 10,000 rows of 120,000")
	require.Contains(t, got.out, "PARTIAL_FAILED")
	require.Contains(t, got.out, "120,000")
	require.Contains(t, got.out, "lume runs rejects "+runID)
}

func TestWaitingEndsAtItsTimeoutAndSaysThatTheRunGoesOn(t *testing.T) {
	t.Parallel()
	got := execute(t, &control{}, "runs", "watch", runID, "--timeout", "50ms")
	require.Equal(t, ExitTimeout, got.code)
	require.Contains(t, got.err, "goes on")
}

func TestListsFollowPages(t *testing.T) {
	t.Parallel()
	server := &control{runs: []*controlv1.Run{run(stateSucceeded), run(statePartial), run(stateFailed), run(stateCrashed), run(stateSucceeded)}}
	all := execute(t, server, "runs", "list", "-o", "jsonl")
	require.Len(t, strings.Split(strings.TrimSpace(all.out), "\n"), 5)
	require.Empty(t, all.err)
	cut := execute(t, server, "runs", "list", "--limit", "3")
	require.Equal(t, 4, strings.Count(cut.out, "\n"), "a header and three runs: %s", cut.out)
	require.Contains(t, cut.err, "more than these 3")
	var parsed struct {
		Runs []struct {
			Run struct {
				State string `json:"state"`
			} `json:"run"`
		} `json:"runs"`
	}
	require.NoError(t, json.Unmarshal([]byte(execute(t, server, "runs", "list", "-o", "json").out), &parsed))
	require.Equal(t, "RUN_STATE_FAILED", parsed.Runs[2].Run.State)
}

func TestWrongUsageIsToldApart(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"unknown flag":      {"runs", "list", "--limits", "3"},
		"unknown noun":      {"run-s"},
		"missing argument":  {"run", "invoices:v1"},
		"unknown output":    {"runs", "list", "-o", "xml"},
		"verb below a noun": {"flows", "aply"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute(t, &control{}, args...)
			require.Equal(t, ExitUsage, got.code, got.out+got.err)
			require.Contains(t, got.err, "--help")
		})
	}
}

func TestAnErrorSaysWhatToDoNext(t *testing.T) {
	t.Parallel()
	got := execute(t, &control{}, "connectors", "get", "absent")
	require.Equal(t, ExitError, got.code)
	require.Equal(t, "Error: there is no connector connectors/absent (CONNECTOR_NOT_FOUND)\nNext: list them with `lume connectors list`\n", got.err)

	asJSON := execute(t, &control{}, "connectors", "get", "absent", "-o", "json")
	var parsed struct {
		Error struct {
			Reason     string `json:"reason"`
			NextAction string `json:"next_action"`
		} `json:"error"`
	}
	require.NoError(t, json.Unmarshal([]byte(asJSON.err), &parsed))
	require.Equal(t, "CONNECTOR_NOT_FOUND", parsed.Error.Reason)
	require.NotEmpty(t, parsed.Error.NextAction)
}

func TestASecretComesFromTheEnvironmentAFileOrATerminalAndNeverFromAnArgument(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "warehouse.yaml")
	secret := filepath.Join(t.TempDir(), "password.txt")
	require.NoError(t, os.WriteFile(secret, []byte("from-a-file\n"), 0o600))
	write := func(secrets string) {
		require.NoError(t, os.WriteFile(file, []byte("name: warehouse\ntype: postgres\nsettings: {host: h, port: 5432}\n"+secrets), 0o600))
	}
	server := &control{}
	stored := func() string { return server.connectors["connectors/warehouse"].GetSecrets()["password"] }

	write(`secrets: {password: "${env:PASSWORD}"}`)
	got := execute(t, server, "connectors", "apply", "-f", file)
	require.Equal(t, result{out: "Connector warehouse created\n"}, got)
	require.Equal(t, "hunter2", stored())
	require.EqualValues(t, 5432, server.connectors["connectors/warehouse"].GetSettings().GetFields()["port"].GetNumberValue())

	write("")
	got = execute(t, server, "connectors", "apply", "-f", file, "--secret", "password=@"+secret)
	require.Equal(t, result{out: "Connector warehouse updated\n"}, got)
	require.Equal(t, "from-a-file", stored())

	got = execute(t, server, "connectors", "apply", "-f", file, "--secret", "password=hunter3")
	require.Equal(t, ExitError, got.code)
	require.NotContains(t, got.err, "hunter3")

	write(`secrets: {password: "${env:NOT_SET}"}`)
	got = execute(t, server, "connectors", "apply", "-f", file)
	require.Contains(t, got.err, "NOT_SET")

	write("")
	server.connectors = nil
	got = execute(t, server, "connectors", "apply", "-f", file)
	require.Contains(t, got.err, "--secret password=@FILE", "a required secret is asked for, and there is no terminal")
}

func TestAFlowThatDoesNotCompileNamesThePlacesInItsFile(t *testing.T) {
	t.Parallel()
	doc := fileWith(t, validFlow)
	server := &control{flowError: fault.ToStatus(fault.Invalid(fault.Violation{
		Field: "flow.spec.columns[1].from", Reason: "UNKNOWN_FUNCTION", Message: "there is no function upperr",
	})).Err()}
	got := execute(t, server, "flows", "apply", "-f", doc.path)
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.err, doc.path+":9:11 columns[1].from: there is no function upperr")
}

func TestRejectsCannotDriveTheTerminal(t *testing.T) {
	t.Parallel()
	server := &control{rejects: []*typev1.Reject{{
		Coordinate: &typev1.Coordinate{Line: proto.Int64(7)}, Stage: typev1.Stage_STAGE_INGEST, Record: `{"a":"b"}`,
		Errors: []*typev1.RejectError{{Type: "malformed", Message: "too few fields", Value: proto.String("\x1b[2Jboo\u202e")}},
	}}}
	got := execute(t, server, "runs", "rejects", runID)
	require.NotContains(t, got.out, "\x1b")
	require.Contains(t, got.out, `\x1b[2Jboo\u202e`)
	lines := execute(t, server, "runs", "rejects", runID, "-o", "jsonl")
	require.Contains(t, lines.out, `"record":"{\"a\":\"b\"}"`)
}

func TestAServerThatIsNotThereIsAnErrorWithANextStep(t *testing.T) {
	t.Parallel()
	got := executeAt(t, "127.0.0.1:1", "runs", "list", "--call-timeout", "2s")
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.err, "Next:")
}

func TestTheKeyOfTheDataFolderIsSentToNoOtherServer(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".lume"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".lume", "admin.key"), []byte("local-key\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".lume", "endpoints.json"), []byte(`{"control_grpc": "127.0.0.1:7401"}`), 0o600))

	local := &app{env: Env{Home: home}}
	server, key, err := local.resolve()
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:7401", server)
	require.Equal(t, "local-key", key)

	other := &app{env: Env{Home: home}, target: target{server: "lume.example.com:7401"}}
	_, _, err = other.resolve()
	require.ErrorContains(t, err, "no API key for lume.example.com:7401")
}
