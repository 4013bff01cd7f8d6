package egress

import (
	"errors"
	"fmt"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/internal/stageservice"
)

const (
	// DefaultMemoryBytes is the default of Config.MemoryBytes.
	DefaultMemoryBytes = 256 << 20
	minMemoryBytes     = 16 << 20
)

// Config of the service.
type Config struct {
	// Service is what all stages have. Its stage is set by New.
	Service stageservice.Config
	// Registry holds the kinds of connector that there are.
	Registry *connector.Registry
	// Roots are folders below which `file` and `sqlite` connectors may have their root. Empty refuses them all.
	Roots []string
	// MemoryBytes bounds what all tasks together hold of mapped rows in memory; each has an equal share, which sets the size
	// of its batches. Default DefaultMemoryBytes; at least 16 MiB.
	MemoryBytes int64
}

// Validate returns everything that is wrong with the configuration, the chassis' own apart.
func (c Config) Validate() error {
	var errs []error
	if c.Registry == nil {
		errs = append(errs, errors.New("the registry of connectors is not set"))
	}
	if c.MemoryBytes < 0 || c.MemoryBytes > 0 && c.MemoryBytes < minMemoryBytes {
		errs = append(errs, fmt.Errorf("%d bytes of memory: at least %d are needed", c.MemoryBytes, minMemoryBytes))
	}
	return errors.Join(errs...)
}

// share returns the memory of one task.
func (c Config) share() int64 {
	memory := c.MemoryBytes
	if memory == 0 {
		memory = DefaultMemoryBytes
	}
	return max(memory/int64(max(c.Service.Slots, 1)), minMemoryBytes)
}
