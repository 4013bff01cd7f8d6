package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"time"
)

// Config says how a [Pool] runs its children. The zero value plus Root is valid.
type Config struct {
	// Root is the folder below which all job directories lie; children cannot open files elsewhere. It must exist.
	Root string
	// Children is how many jobs run at once. Default 1.
	Children int
	// Threads of one job. Default 2, or 1 on a machine with one processor.
	Threads int
	// MemoryBytes is the memory limit of one job. Default 512 MiB, least 64 MiB.
	MemoryBytes int64
	// DiskBytes is the quota of temporary files of one job, and the largest size of one file. Default 64 GiB.
	DiskBytes int64
	// Timeout of jobs that set none. Default 30 minutes.
	Timeout time.Duration
	// JobsPerChild is after how many jobs a child is replaced. Default 50.
	JobsPerChild int
	// Executable is the program of the children; it must call [Main] if [IsChild]. Default: the running program.
	Executable string
	// Log gets what children said before they died. Default: nothing is logged.
	Log *slog.Logger
}

const minMemory = 64 << 20

// complete fills defaults in and checks the rest.
func (c Config) complete() (Config, error) {
	if c.Root == "" {
		return c, errors.New("engine: Config.Root is required: the folder that holds the job directories")
	}
	root, err := filepath.Abs(c.Root)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return c, fmt.Errorf("engine: resolve Config.Root: %w", err)
	}
	c.Root = root
	setDefault(&c.Children, 1)
	setDefault(&c.Threads, min(2, runtime.NumCPU()))
	setDefault(&c.MemoryBytes, 512<<20)
	setDefault(&c.DiskBytes, 64<<30)
	setDefault(&c.Timeout, 30*time.Minute)
	setDefault(&c.JobsPerChild, 50)
	setDefault(&c.Executable, ownExecutable())
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Children < 0 || c.Threads < 0 || c.DiskBytes < 0 || c.Timeout < 0 || c.JobsPerChild < 0:
		return c, errors.New("engine: Config has a negative number")
	case c.MemoryBytes < minMemory:
		return c, fmt.Errorf("engine: Config.MemoryBytes is %d, the least is %d", c.MemoryBytes, minMemory)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// childConfig is what a child is told in its arguments.
type childConfig struct {
	Root        string `json:"root"`
	Threads     int    `json:"threads"`
	MemoryBytes int64  `json:"memoryBytes"`
	DiskBytes   int64  `json:"diskBytes"`
	// Confined is set once the process has limited itself and executed itself again.
	Confined bool `json:"confined,omitempty"`
}
