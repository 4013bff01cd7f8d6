package sqlload

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/lume-data/lume/connector"
)

// SessionPrefix begins the names of the sessions of a run's loads into one target; a load's fence follows. With it a name is
// no longer than 63 bytes, after which PostgreSQL cuts it off: that is what a run's id and the longest fence leave for the target.
func SessionPrefix(runID, target string) string {
	sum := sha256.Sum256([]byte(target))
	return "lume/" + runID + "/" + hex.EncodeToString(sum[:])[:7] + "/"
}

// SessionName is the name of a load's session.
func SessionName(load connector.Load) string {
	return SessionPrefix(load.RunID, load.Target.Name) + strconv.FormatInt(load.Fence, 10)
}

// SessionFence returns the fence in the name of a session with a prefix; ok is false for every other session.
func SessionFence(name, prefix string) (fence int64, ok bool) {
	text, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	fence, err := strconv.ParseInt(text, 10, 64)
	return fence, err == nil
}
