// Package build says which build a binary is.
package build

import (
	"runtime"
	"runtime/debug"
)

// Version is set by the linker: a tag, or a commit.
var Version = "unknown"

// Info describes the build of this binary.
type Info struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Read returns what is known about this binary.
func Read() Info {
	info := Info{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				info.Revision = s.Value
			}
		}
	}
	return info
}
