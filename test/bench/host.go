package main

import (
	"fmt"
	"log"
	"os"
	"testing"
)

// host lets the servers of the tests run outside of a test. It embeds the interface only for its methods that nobody
// calls here.
type host struct {
	testing.TB
	cleanups []func()
}

func (h *host) Helper()                           {}
func (h *host) Name() string                      { return "bench" }
func (h *host) Logf(format string, args ...any)   { log.Printf(format, args...) }
func (h *host) Log(args ...any)                   { log.Print(args...) }
func (h *host) Cleanup(f func())                  { h.cleanups = append(h.cleanups, f) }
func (h *host) Errorf(format string, args ...any) { log.Printf(format, args...) }

func (h *host) Fatal(args ...any) { h.Fatalf("%s", fmt.Sprint(args...)) }

// Fatalf ends the benchmark after giving everything back.
func (h *host) Fatalf(format string, args ...any) {
	log.Printf(format, args...)
	h.close()
	os.Exit(1)
}

func (h *host) TempDir() string {
	dir, err := os.MkdirTemp("", "lume-bench-")
	if err != nil {
		h.Fatalf("make a folder: %v", err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// close runs the clean-ups in reverse order.
func (h *host) close() {
	for i := len(h.cleanups) - 1; i >= 0; i-- {
		h.cleanups[i]()
	}
	h.cleanups = nil
}
