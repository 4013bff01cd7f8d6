package engine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

// Descriptors of the pipes that a child inherits.
const (
	jobsFD    = 3
	answersFD = 4
)

// IsChild reports whether this process was started by a [Pool]. Programs ask before they do anything else.
func IsChild() bool { return len(os.Args) == 2 && os.Args[0] == childName }

// Main is the whole life of a child. It returns the status to exit with.
func Main() int {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "engine child:", err)
		return 1
	}
	return 0
}

func serve() error {
	var cfg childConfig
	if err := json.Unmarshal([]byte(os.Args[1]), &cfg); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if !cfg.Confined {
		cfg.Confined = true
		arg, err := json.Marshal(cfg)
		if err != nil {
			return err
		}
		// Executing this program again puts every thread under the limits of this one.
		return confine(cfg, []string{childName, string(arg)})
	}
	debug.SetGCPercent(400)
	// A file that outgrows its limit is an error of the write to it, on threads that the Go runtime has not started, too.
	signal.Ignore(syscall.SIGXFSZ)
	jobs, answers := bufio.NewReader(os.NewFile(jobsFD, "jobs")), os.NewFile(answersFD, "answers")
	next, err := openInstance(cfg)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if err := writeMessage(answers, response{Version: Version, VirtualBytes: readSizes().virtual}); err != nil {
		return err
	}
	for {
		var job request
		if err := readMessage(jobs, &job); err != nil {
			if errors.Is(err, io.EOF) {
				return nil // The end of the jobs is the end of the child.
			}
			return fmt.Errorf("read job: %w", err)
		}
		answer := runJob(next, job)
		if err := writeMessage(answers, answer); err != nil {
			return fmt.Errorf("write answer: %w", err)
		}
		if answer.Error != nil {
			return nil //nolint:nilerr // The parent has been told; a child that failed once is not used again.
		}
		// The next instance is opened while nobody waits.
		if next, err = openInstance(cfg); err != nil {
			return fmt.Errorf("open: %w", err)
		}
	}
}

// sizes are what the kernel tells of a process; 0 where it does not.
type sizes struct{ resident, peak, virtual int64 }

// runJob runs one job in the instance and closes it.
func runJob(db *instance, job request) response {
	start := time.Now()
	resetPeak()
	limitCPU(job.CPUSeconds)
	var answer response
	if err := prepare(job.Dir); err != nil {
		answer.Error = &Error{Reason: ReasonCrashed, Detail: err.Error()}
	} else if err := db.lock(job); err != nil {
		answer.Error = asError("lock", err)
	} else {
		answer.Steps, answer.Error = db.run(job.Steps)
	}
	if err := db.close(); err != nil && answer.Error == nil {
		answer.Error = asError("close", err)
	}
	if err := os.RemoveAll(job.Dir + "/" + tempDir); err != nil && answer.Error == nil {
		answer.Error = &Error{Reason: ReasonCrashed, Detail: err.Error()}
	}
	if answer.Error != nil {
		answer.Steps = nil
	}
	now := readSizes()
	answer.RSSBytes, answer.VirtualBytes, answer.PeakBytes = now.resident, now.virtual, now.peak
	answer.Wall = time.Since(start)
	return answer
}
