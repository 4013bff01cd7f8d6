package engine

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// childName is argument 0 of a child.
const childName = "lume-engine"

// child is the parent's side of one process. One job at a time.
type child struct {
	cmd     *exec.Cmd
	send    *os.File
	answers chan reply
	exited  chan struct{}
	stderr  *tail
	jobs    int
	// virtual is the address space of the child before its first job.
	virtual int64
	killing sync.Once
}

// reply is a message of the child, or why there will be none.
type reply struct {
	response response
	err      error
}

// startChild starts a process and waits until it is ready.
func startChild(ctx context.Context, s *starter, cfg Config) (*child, error) {
	arg, err := json.Marshal(childConfig{Root: cfg.Root, Threads: cfg.Threads, MemoryBytes: cfg.MemoryBytes, DiskBytes: cfg.DiskBytes})
	if err != nil {
		return nil, err
	}
	jobsOut, jobsIn, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	answersOut, answersIn, err := os.Pipe()
	if err != nil {
		jobsOut.Close()
		jobsIn.Close()
		return nil, err
	}
	c := &child{send: jobsIn, answers: make(chan reply, 4), exited: make(chan struct{}), stderr: &tail{}}
	c.cmd = &exec.Cmd{
		Path:       cfg.Executable,
		Args:       []string{childName, string(arg)},
		Env:        []string{},
		Dir:        cfg.Root,
		Stderr:     c.stderr,
		ExtraFiles: []*os.File{jobsOut, answersIn},
		WaitDelay:  time.Second,
	}
	isolate(c.cmd)
	err = s.start(c.cmd)
	// Only the child holds its ends from here on: its death is the end of both pipes.
	jobsOut.Close()
	answersIn.Close()
	if err != nil {
		jobsIn.Close()
		answersOut.Close()
		return nil, err
	}
	var reading sync.WaitGroup
	reading.Go(func() { c.read(answersOut) })
	go func() {
		_ = c.cmd.Wait()
		close(c.exited)
		reading.Wait()
		answersOut.Close()
	}()
	select {
	case r, ok := <-c.answers:
		if ok && r.err == nil && r.response.Version == Version {
			c.virtual = r.response.VirtualBytes
			return c, nil
		}
		c.kill()
		return nil, fmt.Errorf("child did not start: %s: %w", c.stderr.String(), cmp.Or(r.err, errNoHello))
	case <-ctx.Done():
		c.kill()
		return nil, ctx.Err()
	}
}

// read hands the child's messages on until there are no more. Nobody waits for more than a few: a child that says
// more than it was asked is not listened to.
func (c *child) read(from *os.File) {
	defer close(c.answers)
	r := bufio.NewReader(from)
	for {
		var m reply
		m.err = readMessage(r, &m.response)
		select {
		case c.answers <- m:
		default:
			return
		}
		if m.err != nil {
			return
		}
	}
}

// do runs one job. The child must be killed if an error is returned.
func (c *child) do(ctx context.Context, job Job, threads int) (*response, error) {
	timer := time.NewTimer(job.Timeout)
	defer timer.Stop()
	// Sending cannot block the deadline: a child that does not read is killed, which breaks the pipe.
	sent := make(chan error, 1)
	go func() {
		seconds := uint64(job.Timeout/time.Second) + 2
		sent <- writeMessage(c.send, request{Dir: job.Dir, Steps: job.Steps, Threads: threads, DisabledOptimizers: job.DisabledOptimizers, CPUSeconds: seconds * uint64(threads+1)})
	}()
	var answer reply
	var interrupted error
	select {
	case m, ok := <-c.answers:
		answer = m
		if !ok {
			answer.err = io.ErrUnexpectedEOF
		}
	case <-ctx.Done():
		interrupted = ctx.Err()
	case <-timer.C:
		interrupted = &Error{Reason: ReasonTimeout, Detail: "killed after " + job.Timeout.String()}
	}
	if interrupted != nil || answer.err != nil {
		c.kill()
	}
	sendErr := <-sent
	switch {
	case interrupted != nil:
		if errors.Is(interrupted, context.DeadlineExceeded) {
			return nil, &Error{Reason: ReasonTimeout, Detail: "killed at the deadline of its context"}
		}
		return nil, interrupted
	case answer.err != nil:
		return nil, c.crash(answer.err)
	case sendErr != nil:
		return nil, &Error{Reason: ReasonCrashed, Detail: sendErr.Error()}
	}
	return &answer.response, nil
}

// crash says why a child that was not told to end did.
func (c *child) crash(cause error) *Error {
	said := c.stderr.String()
	detail := fmt.Sprintf("%v; %v; %s", cause, c.cmd.ProcessState, said)
	if reason := classify(said); reason == ReasonOutOfMemory {
		return &Error{Reason: reason, Detail: detail}
	}
	return &Error{Reason: ReasonCrashed, Detail: detail}
}

// alive reports whether the process has not exited.
func (c *child) alive() bool {
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// kill ends the process group and waits until the process is gone. It may be called again.
func (c *child) kill() {
	c.killing.Do(func() {
		if c.alive() {
			killGroup(c.cmd.Process)
		}
		c.send.Close()
	})
	<-c.exited
}

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 8 << 10

// Write implements io.Writer and never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*tailBytes {
		// The first lines of a crash say why; the last ones where.
		t.buf = append(t.buf[:tailBytes:tailBytes], t.buf[len(t.buf)-tailBytes:]...)
	}
	return len(p), nil
}

// String returns what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.buf), "?")
}

// errNoHello is what a child without an answer, or with another protocol, is told by.
var errNoHello = errors.New("it did not answer in this program's protocol")
