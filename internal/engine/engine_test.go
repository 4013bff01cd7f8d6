package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestJobReadsAndWritesItsDirectory(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t)
	r, err := pool.Run(context.Background(), Job{Dir: dir, Steps: []Step{
		{Name: "write", SQL: "COPY (SELECT i AS n, 'x' || i AS s FROM range(1000) t(i)) TO 'a.parquet' (FORMAT parquet, COMPRESSION zstd)"},
		{Name: "count", SQL: "SELECT count(*), sum(n)::HUGEINT, max(s), NULL, true FROM read_parquet('a.parquet')", Rows: true},
		{Name: "bound", SQL: "SELECT ?::VARCHAR", Args: []string{"it's; DROP TABLE x --"}, Rows: true},
		{Name: "broken", SQL: "SELECT nothing", MayFail: true},
	}})
	require.NoError(t, err)
	require.Len(t, r.Steps, 4)
	require.Equal(t, []*string{ptr("1000"), ptr("499500"), ptr("x999"), nil, ptr("true")}, r.Steps[1].Rows[0])
	got, ok := r.Steps[2].Text(0, 0)
	require.True(t, ok)
	require.Equal(t, "it's; DROP TABLE x --", got)
	require.Contains(t, r.Steps[3].Err, "nothing")
	require.Positive(t, r.PeakBytes)
	require.FileExists(t, filepath.Join(dir, "a.parquet"))
	require.NoDirExists(t, filepath.Join(dir, tempDir), "temporary files are gone")
}

func TestJobMayAskForFewerThreads(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t, func(c *Config) { c.Threads = 2 })
	for asked, want := range map[int]string{0: "2", 1: "1", 2: "2", 9: "2"} {
		r, err := pool.Run(context.Background(), Job{Dir: dir, Threads: asked, Steps: []Step{{Name: "q", SQL: "SELECT current_setting('threads')", Rows: true}}})
		require.NoError(t, err)
		require.Equal(t, want, *r.Steps[0].Rows[0][0], "%d", asked)
	}
}

func TestStepCanBeTheLast(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t)
	for enough, steps := range map[string]int{"": 2, "7": 1, "8": 2} {
		r, err := pool.Run(context.Background(), Job{Dir: dir, Steps: []Step{{Name: "a", SQL: "SELECT 7", Rows: true, Enough: enough}, {Name: "b", SQL: "SELECT 1"}}})
		require.NoError(t, err)
		require.Len(t, r.Steps, steps, enough)
	}
}

func TestVersionIsTheLibrarys(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t)
	require.Equal(t, Version, "duckdb "+strings.TrimPrefix(*query(t, pool, dir, "SELECT version()")[0][0], "v"))
}

func TestChildIsUsedAgainWithAFreshInstance(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t, func(c *Config) { c.JobsPerChild = 3 })
	pids := map[int]bool{}
	for range 6 {
		_, err := pool.Run(context.Background(), Job{Dir: dir, Steps: []Step{{Name: "create", SQL: "CREATE TABLE t (a INT)"}}})
		require.NoError(t, err, "an earlier job's table is gone")
		for _, c := range pool.idle {
			pids[c.cmd.Process.Pid] = true
		}
	}
	require.Len(t, pids, 2, "six jobs, three per child; a child that had its jobs is not idle")
}

func TestJobsRunAtOnceUpToTheNumberOfChildren(t *testing.T) {
	t.Parallel()
	pool, _ := setup(t, func(c *Config) { c.Children = 3 })
	var wg sync.WaitGroup
	for i := range 12 {
		dir := jobDir(t, pool.cfg.Root, "parallel"+strconv.Itoa(i))
		wg.Go(func() {
			r, err := pool.Run(context.Background(), Job{Dir: dir, Steps: []Step{{Name: "q", SQL: "SELECT " + strconv.Itoa(i), Rows: true}}})
			if err != nil || *r.Steps[0].Rows[0][0] != strconv.Itoa(i) {
				t.Errorf("job %d: %v %v", i, r, err)
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, len(pool.idle), 3)
}

func TestFailuresAreClassedAndTheNextJobWorks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, sql, reason string
		retryable         bool
		timeout           time.Duration
	}{
		{name: "hang that ignores interrupts", timeout: 2 * time.Second, retryable: true, reason: ReasonTimeout,
			sql: "SELECT count(*) FROM generate_series(TIMESTAMP '2000-01-01', TIMESTAMP '2900-01-01', INTERVAL 1 MICROSECOND)"},
		{name: "scalar that outgrows the limit", reason: ReasonOutOfMemory,
			sql: "SELECT length(repeat('x', 2000000000) || repeat('y', 2000000000))"},
		{name: "list that outgrows the limit", reason: ReasonOutOfMemory, sql: "SELECT len(range(1000000000))"},
		{name: "hash table that outgrows the limit", reason: ReasonDiskQuota,
			sql: "SELECT count(*) FROM (SELECT DISTINCT md5(i::VARCHAR) || md5((i+1)::VARCHAR) FROM range(20000000) t(i))"},
		{name: "statement that is wrong", reason: ReasonSQL, sql: "SELECT nothing FROM nowhere"},
		{name: "value with telling words", reason: ReasonSQL, sql: "SELECT error('no space left, out of memory')"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			pool, dir := setup(t, limited(t), func(c *Config) { c.DiskBytes = 64 << 20 })
			start := time.Now()
			_, err := pool.Run(context.Background(), Job{Dir: dir, Timeout: tc.timeout, Steps: []Step{{Name: "attack", SQL: tc.sql}}})
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, tc.reason, e.Reason, e.Detail)
			require.Equal(t, tc.retryable, e.Retryable())
			if tc.timeout > 0 {
				require.Less(t, time.Since(start), tc.timeout+5*time.Second)
			}
			require.Empty(t, pool.idle, "a child that failed is not used again")
			require.Equal(t, "1", *query(t, pool, dir, "SELECT 1")[0][0])
		})
	}
}

func TestCrashOfAChildIsOnlyTheChilds(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t)
	_, err := pool.Run(context.Background(), Job{Dir: dir, Steps: []Step{{Name: "attack",
		SQL: "SELECT json_structure(repeat('[', 200000) || repeat(']', 200000))"}}})
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, ReasonCrashed, e.Reason, e.Detail)
	require.True(t, e.Retryable())
	require.Equal(t, "1", *query(t, pool, dir, "SELECT 1")[0][0])
}

func TestCancelledJobIsKilledAtOnce(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := pool.Run(ctx, Job{Dir: dir, Steps: []Step{{Name: "long", SQL: "SELECT count(*) FROM range(100000000000) a"}}})
		done <- err
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, tempDir)); return err == nil }, 20*time.Second, time.Millisecond)
	cancel()
	select {
	case err := <-done:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(10 * time.Second):
		t.Fatal("the job outlived its context")
	}
}

func TestKilledChildIsReplaced(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t)
	victim := pool.idle[0]
	require.NoError(t, syscall.Kill(victim.cmd.Process.Pid, syscall.SIGKILL))
	<-victim.exited
	require.Equal(t, "1", *query(t, pool, dir, "SELECT 1")[0][0])
}

func TestInstanceIsLockedDown(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t)
	outside := filepath.Join(pool.cfg.Root, "outside.csv")
	require.NoError(t, os.WriteFile(outside, []byte("a\n1\n"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link.csv")))
	require.NoError(t, os.Symlink(pool.cfg.Root, filepath.Join(dir, "folder")))
	for _, sql := range []string{
		"SELECT * FROM read_csv('" + outside + "')",
		"SELECT * FROM read_text('../outside.csv')",
		"SELECT * FROM read_text('link.csv')",
		"SELECT * FROM read_text('folder/outside.csv')",
		"SELECT * FROM read_text('/proc/self/environ')",
		"SELECT * FROM read_text('/etc/passwd')",
		"SELECT * FROM read_text('http://127.0.0.1:1/x')",
		"SELECT * FROM read_parquet('s3://bucket/x')",
		"COPY (SELECT 1) TO '" + filepath.Join(pool.cfg.Root, "written.csv") + "'",
		"ATTACH '" + filepath.Join(pool.cfg.Root, "x.db") + "'",
		"INSTALL httpfs", "LOAD httpfs",
		"SET memory_limit='10GB'", "SET threads=8", "RESET memory_limit", "PRAGMA memory_limit='10GB'",
		"SET enable_external_access=true", "SET lock_configuration=false", "SET TimeZone='Europe/Paris'",
		"SET allowed_directories=['/']", "SET temp_directory='/tmp'", "SELECT getenv('PATH')",
	} {
		r, err := pool.Run(context.Background(), Job{Dir: dir, Steps: []Step{{Name: "attack", SQL: sql, MayFail: true}}})
		require.NoError(t, err, sql)
		require.NotEmpty(t, r.Steps[0].Err, sql)
	}
	for setting, want := range map[string]string{"TimeZone": "UTC", "lock_configuration": "true", "enable_external_access": "false",
		"threads": "2", "preserve_insertion_order": "true", "disabled_optimizers": "common_subexpressions", "memory_limit": "256.0 MiB",
		"allow_unsigned_extensions": "false", "allow_community_extensions": "false", "allow_persistent_secrets": "false",
		"autoload_known_extensions": "false", "autoinstall_known_extensions": "false", "allow_unredacted_secrets": "false", "enable_external_file_cache": "false",
		"max_temp_directory_size": "64.0 GiB", "max_expression_depth": "250"} {
		if setting == "threads" {
			want = strconv.Itoa(pool.cfg.Threads)
		}
		require.Equal(t, want, *query(t, pool, dir, fmt.Sprintf("SELECT current_setting('%s')::VARCHAR", setting))[0][0], setting)
	}
}

func TestProcessIsConfined(t *testing.T) {
	t.Parallel()
	pool, _ := setup(t, limited(t))
	pid := strconv.Itoa(pool.idle[0].cmd.Process.Pid)
	read := func(name string) string {
		b, err := os.ReadFile("/proc/" + pid + "/" + name)
		require.NoError(t, err)
		return string(b)
	}
	require.Empty(t, read("environ"))
	require.Equal(t, "1000", strings.TrimSpace(read("oom_score_adj")))
	require.Contains(t, read("status"), "NoNewPrivs:\t1")
	require.Regexp(t, `Max core file size +0 +0`, read("limits"))
	require.Regexp(t, `Max address space +3758096384 +3758096384`, read("limits"))
	group, err := syscall.Getpgid(pool.idle[0].cmd.Process.Pid)
	require.NoError(t, err)
	require.Equal(t, pid, strconv.Itoa(group))
}

func TestTooManyRowsIsAnErrorNotAnOutage(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t)
	_, err := pool.Run(context.Background(), Job{Dir: dir, Steps: []Step{{Name: "rows", Rows: true, SQL: "SELECT md5(i::VARCHAR) FROM range(10000000) t(i)"}}})
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, ReasonSQL, e.Reason)
}

func TestJobOutsideOfTheRootIsRefused(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t)
	other := t.TempDir()
	require.NoError(t, os.Symlink(other, filepath.Join(dir, "out")))
	for _, d := range []string{other, pool.cfg.Root, filepath.Join(dir, "out"), filepath.Join(dir, "..", ".."), filepath.Join(dir, "missing")} {
		_, err := pool.Run(context.Background(), Job{Dir: d})
		require.Error(t, err, d)
	}
}

func TestClosedPoolRefusesJobs(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t)
	require.NoError(t, pool.Close())
	_, err := pool.Run(context.Background(), Job{Dir: dir})
	require.ErrorIs(t, err, ErrClosed)
}

func TestProgramThatIsNoChildIsAStartUpError(t *testing.T) {
	t.Parallel()
	_, err := New(context.Background(), Config{Root: t.TempDir(), Executable: "/bin/true"})
	require.ErrorContains(t, err, "did not start")
}

// BenchmarkSmallJob is the latency of a job that opens an instance and writes 1,000 rows.
func BenchmarkSmallJob(b *testing.B) {
	pool, dir := setup(b)
	for b.Loop() {
		_, err := pool.Run(context.Background(), Job{Dir: dir, Steps: []Step{{Name: "write",
			SQL: "COPY (SELECT i AS n, 'x' || i AS s FROM range(1000) t(i)) TO 'a.parquet' (FORMAT parquet, COMPRESSION zstd)"}}})
		require.NoError(b, err)
	}
}

func ptr(s string) *string { return &s }
