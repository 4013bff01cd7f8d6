package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

// lume runs the command line against an installation.
func (i *installation) lume(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binaries, "lume"), args...)
	cmd.Env = []string{"LUME_DATA=" + filepath.Join(i.root, "data"), "HOME=" + i.root, "DEMO_DIR=" + i.root}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	require.NoError(t, ctx.Err(), stderr.String())
	if err != nil {
		exit := &exec.ExitError{}
		require.ErrorAs(t, err, &exit)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

func (i *installation) mustLume(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := i.lume(t, args...)
	require.Zero(t, code, "lume %s\n%s%s", strings.Join(args, " "), out, errs)
	return out
}

// The README's quick start, by the commands that it shows.
func TestTheQuickStartWorksAsWritten(t *testing.T) {
	t.Parallel()
	i := up(t)
	inbox := filepath.Join(i.root, "inbox")
	require.NoError(t, os.Mkdir(inbox, 0o755))
	batch := filepath.Join(inbox, "batch.csv")
	truth := messy(t, batch, 5_000)

	require.Contains(t, i.mustLume(t, "connectors", "apply", "-f", "../../examples/connectors"), "Connector inbox created")
	require.Contains(t, i.mustLume(t, "connectors", "test", "warehouse"), "passed")
	require.Contains(t, i.mustLume(t, "connectors", "discover", "inbox"), "batch.csv")
	require.Contains(t, i.mustLume(t, "flows", "apply", "-f", "../../examples/invoice_cleaner.yaml"), "Flow invoice_cleaner created")
	require.Contains(t, i.mustLume(t, "flows", "preview", "invoice_cleaner", "file://"+batch), "INV-0000000")
	require.Contains(t, i.mustLume(t, "flows", "publish", "invoice_cleaner", "--alias", "production"), "Published invoice_cleaner:v1")
	run := i.mustLume(t, "run", "invoice_cleaner:production", "file://"+batch, "--wait")
	require.Contains(t, run, "PARTIAL_FAILED")

	var listed struct {
		Runs []struct {
			Run struct {
				RunID string `json:"run_id"`
			}
			Receipt struct{ Counts map[string]string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(i.mustLume(t, "runs", "list", "--flow", "invoice_cleaner", "-o", "json")), &listed))
	counts := listed.Runs[0].Receipt.Counts
	for name, want := range truth {
		require.Equal(t, want, counts[name], "%s: %v", name, counts)
	}
	id := listed.Runs[0].Run.RunID
	require.Contains(t, i.mustLume(t, "runs", "rejects", id), "malformed")
	exported := i.mustLume(t, "runs", "rejects", id, "-o", "jsonl", "--limit", "0")
	var flaws int
	for _, name := range []string{"malformed", "rejected"} {
		n, err := strconv.Atoi(truth[name])
		require.NoError(t, err)
		flaws += n
	}
	require.Equal(t, flaws, strings.Count(exported, "\n"))

	code, _, errs := i.lume(t, "run", "invoice_cleaner:v1", "file://"+batch, "--wait")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "DUPLICATE_RUN")
	code, _, _ = i.lume(t, "run", "invoice_cleaner:v1", "file://"+batch, "--wait", "--force", "--fail-on-rejects")
	require.Equal(t, 5, code)
	code, out, _ := i.lume(t, "run", "invoice_cleaner:v1", "file://"+filepath.Join(inbox, "absent.csv"), "--wait")
	require.Equal(t, 3, code)
	require.Contains(t, out, "SOURCE_OBJECT_NOT_FOUND")
}

// messy writes a messy CSV and returns what a run must count.
func messy(t *testing.T, path string, rows int) map[string]string {
	t.Helper()
	truthFile := filepath.Join(t.TempDir(), "truth.json")
	out, err := exec.Command("go", "run", "../../examples/messy", "-rows", strconv.Itoa(rows), "-out", path, "-truth", truthFile).CombinedOutput()
	require.NoError(t, err, string(out))
	text, err := os.ReadFile(truthFile)
	require.NoError(t, err)
	var truth map[string]any
	require.NoError(t, json.Unmarshal(text, &truth))
	counts := map[string]string{}
	for _, name := range []string{"read", "malformed", "filtered", "rejected", "mapped"} {
		counts[name] = strconv.Itoa(int(truth[name].(float64)))
	}
	return counts
}

// `make demo` is this script, after it has built what the script needs.
func TestTheDemoEndsAsItSays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "messy"), "../../examples/messy").CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.Symlink(filepath.Join(binaries, "lume"), filepath.Join(dir, "lume")))
	cmd := exec.Command("../../examples/demo.sh")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "BIN=" + dir, "DEMO_DIR=" + filepath.Join(dir, "demo"), "ROWS=20000"}
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "PARTIAL_FAILED")
	require.Contains(t, string(out), "Where everything is")
}

func TestTheGeneratedPagesAreThoseOfThisTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, err := exec.Command(filepath.Join(binaries, "lume"), "docs", dir).CombinedOutput()
	require.NoError(t, err, string(out))
	for _, name := range []string{"cli.md", "settings.md"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join("../../docs", name))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), "docs/%s is out of date: run `make generate`", name)
	}
}

func TestADataFolderServesOneProcessAndIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	i := up(t)
	data := filepath.Join(i.root, "data")
	code, _, errs := i.lume(t, "up", "--data", data, "--port", "0")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "another lume up uses")
	for _, name := range []string{"admin.key", "keyset.json", "endpoints.json"} {
		info, err := os.Stat(filepath.Join(data, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
}

func TestAStopDrainsAndTheNextStartGoesOn(t *testing.T) {
	t.Parallel()
	i := up(t)
	list := orders(1, 60_000, 0)
	s, target := files(t, i), postgresSink(t, i)
	version := i.publish(t, flow(fresh("flow"), "connector: "+s.connector+", csv: {}", "region", target.yaml, "append", "limits: {part_bytes: 524288}"))
	run := i.create(t, version, s.put(t, "big.csv", encodeCSV(t, list)))
	i.waitFor(t, run.GetName(), controlv1.RunState_RUN_STATE_TRANSFORMING)

	began := time.Now()
	i.processes["up"].terminate(t)
	require.Less(t, time.Since(began), 40*time.Second)
	_, err := os.Stat(filepath.Join(i.root, "data", "endpoints.json"))
	require.ErrorIs(t, err, os.ErrNotExist)
	i.restart(t, "up")

	inState(t, succeeded, i.wait(t, run.GetName()))
	same(t, good(list), target.rows(t))
}
