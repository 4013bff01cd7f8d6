package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"buf.build/go/protoyaml"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/rpcclient"
)

// platform is a running `lume up`.
type platform struct {
	cmd    *exec.Cmd
	conn   *grpc.ClientConn
	data   string
	log    string
	memory *sampler
}

// startPlatform starts `lume up` with its data in dir and waits until it answers.
func startPlatform(ctx context.Context, lume, dir, files string) (*platform, error) {
	p := &platform{data: filepath.Join(dir, "data"), log: filepath.Join(dir, "lume.log")}
	p.cmd = exec.Command(lume, "up", "--data", p.data, "--port", "0", "--root", files)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	logFile, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	p.cmd.Stdout, p.cmd.Stderr = logFile, logFile
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.memory = sampleMemory(p.cmd.Process.Pid)
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if err := p.dial(ctx); err == nil {
			return p, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("lume up did not answer within a minute:\n%s", p.said())
}

// said is what the platform has logged: warnings and errors.
func (p *platform) said() []byte {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	return text
}

func (p *platform) dial(ctx context.Context) error {
	text, err := os.ReadFile(filepath.Join(p.data, "endpoints.json"))
	if err != nil {
		return err
	}
	var endpoints struct {
		Control string `json:"control_grpc"`
	}
	if err := json.Unmarshal(text, &endpoints); err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(p.data, "admin.key"))
	if err != nil {
		return err
	}
	conn, err := rpcclient.Dial(rpcclient.Config{Address: endpoints.Control, APIKey: strings.TrimSpace(string(key))})
	if err != nil {
		return err
	}
	if _, err := controlv1.NewConnectorServiceClient(conn).ListConnectorSpecs(ctx, &controlv1.ListConnectorSpecsRequest{}); err != nil {
		_ = conn.Close()
		return err
	}
	p.conn = conn
	return nil
}

func (p *platform) stop() {
	if p.conn != nil {
		_ = p.conn.Close()
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
	p.memory.stop()
}

// configure makes the two connectors, and a version of each flow.
func (p *platform) configure(ctx context.Context, files, dsn string, flows ...string) error {
	u, err := url.Parse(dsn)
	if err != nil {
		return errors.New("the DSN of the bench's own database does not parse")
	}
	password, _ := u.User.Password()
	warehouse, err := structpb.NewStruct(map[string]any{
		"host": u.Hostname(), "port": mustFloat(u.Port()), "database": strings.TrimPrefix(u.Path, "/"),
		"user": u.User.Username(), "sslmode": u.Query().Get("sslmode"),
	})
	if err != nil {
		return err
	}
	folder, err := structpb.NewStruct(map[string]any{"root": files})
	if err != nil {
		return err
	}
	connectors := controlv1.NewConnectorServiceClient(p.conn)
	for _, c := range []*controlv1.CreateConnectorRequest{
		{ConnectorId: "bench-files", Connector: &controlv1.Connector{Type: "file", Settings: folder}},
		{ConnectorId: "bench-warehouse", Connector: &controlv1.Connector{Type: "postgres", Settings: warehouse, Secrets: map[string]string{"password": password}}},
	} {
		if _, err := connectors.CreateConnector(ctx, c); err != nil {
			return fmt.Errorf("create connector %s: %w", c.GetConnectorId(), err)
		}
	}
	for _, text := range flows {
		spec := &flowv1.Flow{}
		if err := protoyaml.Unmarshal([]byte(text), spec); err != nil {
			return err
		}
		service := controlv1.NewFlowServiceClient(p.conn)
		name := "flows/" + spec.GetName()
		if _, err := service.CreateFlow(ctx, &controlv1.CreateFlowRequest{Flow: &controlv1.Flow{Name: name, Spec: spec}}); err != nil {
			return fmt.Errorf("create %s: %w", name, err)
		}
		if _, err := service.PublishFlow(ctx, &controlv1.PublishFlowRequest{Name: name}); err != nil {
			return fmt.Errorf("publish %s: %w", name, err)
		}
	}
	return nil
}

func mustFloat(text string) float64 {
	var f float64
	if _, err := fmt.Sscan(text, &f); err != nil {
		panic(err)
	}
	return f
}

// run runs a version on a batch and returns the finished run. It fails unless the run committed.
func (p *platform) run(ctx context.Context, version, path string) (*controlv1.Run, error) {
	runs := controlv1.NewRunServiceClient(p.conn)
	created, err := runs.CreateRun(ctx, &controlv1.CreateRunRequest{FlowVersion: version, SourcePath: "file://" + path, ForceRerun: true})
	if err != nil {
		return nil, err
	}
	watch, err := runs.WatchRun(ctx, &controlv1.WatchRunRequest{Name: created.GetName()})
	if err != nil {
		return nil, err
	}
	last := created
	for {
		update, err := watch.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		last = update.GetRun()
	}
	switch last.GetRun().GetState() {
	case controlv1.RunState_RUN_STATE_SUCCEEDED, controlv1.RunState_RUN_STATE_PARTIAL_FAILED:
		return last, nil
	default:
		return nil, fmt.Errorf("run %s ended %s: %s %s\n%s", last.GetRun().GetRunId(), last.GetRun().GetState(),
			last.GetError().GetReason(), last.GetError().GetMessage(), p.said())
	}
}

// stages are the durations of one run.
type stages struct{ ingest, transform, egress, whole time.Duration }

func stagesOf(r *controlv1.Run) stages {
	duration := func(s *controlv1.StageProgress) time.Duration {
		return s.GetEndTime().AsTime().Sub(s.GetStartTime().AsTime())
	}
	return stages{
		ingest:    duration(r.GetSource().GetProgress()),
		transform: duration(r.GetTransform().GetProgress()),
		egress:    duration(r.GetTarget().GetProgress()),
		whole:     r.GetRun().GetEndTime().AsTime().Sub(r.GetRun().GetCreateTime().AsTime()),
	}
}

// sampler follows the peak memory of a process and its children.
type sampler struct {
	quit chan struct{}
	done chan struct{}
	// own and child are peaks in bytes; read them after stop.
	own, child int64
}

func sampleMemory(pid int) *sampler {
	s := &sampler{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			s.own = max(s.own, peak(pid))
			children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
			entries, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
			for _, e := range entries {
				more, _ := os.ReadFile(e)
				children = append(children, more...)
			}
			for _, c := range bytes.Fields(children) {
				var id int
				if _, err := fmt.Sscan(string(c), &id); err == nil {
					s.child = max(s.child, peak(id))
				}
			}
			select {
			case <-s.quit:
				return
			case <-tick.C:
			}
		}
	}()
	return s
}

func (s *sampler) stop() {
	close(s.quit)
	<-s.done
}

// peak reads a process's high-water mark of resident memory.
func peak(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, ok := bytes.Cut(text, []byte("VmHWM:"))
	if !ok {
		return 0
	}
	var kib int64
	if _, err := fmt.Sscan(string(rest), &kib); err != nil {
		log.Printf("read VmHWM of %d: %v", pid, err)
	}
	return kib << 10
}
