package transform

import (
	"errors"

	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/internal/stageservice"
)

// Config of the service.
type Config struct {
	// Service is what all stages have. Its stage is set by New. Slots default to 2.
	Service stageservice.Config
	// Engine says how child processes run. Its root and log are set by New; its children default to the slots, and one more
	// for compiling and previews.
	Engine engine.Config
}

// Validate returns everything that is wrong with the configuration, the chassis' and the engine's own apart.
func (c Config) Validate() error {
	if c.Engine.Root != "" {
		return errors.New("the engine's root is set by the service: leave it empty")
	}
	return nil
}
