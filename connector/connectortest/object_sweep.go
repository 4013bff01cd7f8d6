package connectortest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// SweepHarness says how to leave in a store what killed workers leave.
type SweepHarness struct {
	Target connector.Target
	Spec   connector.TargetSpec
	// Begin begins an upload of an object and never ends it; Put makes one whole. Keys are those from the target's prefix.
	Begin, Put func(key string)
	// Left returns the keys of unfinished uploads and of objects below the target's prefix, with the former under their own key.
	Left func() (uploads, objects []string)
}

// Sweep requires that a settlement removes what loads have left that its marker stops, and nothing that a later load has begun.
func Sweep(t *testing.T, h SweepHarness) {
	t.Helper()
	const marker = "run_id=run_swept/_metadata.json"
	names := func(fence int64) (upload, object string) {
		return fmt.Sprintf("run_id=run_swept/mapped/part-00001-1-%d-aa.csv", fence), fmt.Sprintf("run_id=run_swept/mapped/part-00000-1-%d-aa.csv", fence)
	}
	left := func(fences ...int64) {
		t.Helper()
		var wantUploads []string
		wantObjects := []string{marker}
		for _, fence := range fences {
			upload, object := names(fence)
			wantUploads, wantObjects = append(wantUploads, upload), append(wantObjects, object)
		}
		uploads, objects := h.Left()
		slices.Sort(uploads)
		slices.Sort(objects)
		slices.Sort(wantObjects)
		require.Equal(t, wantUploads, uploads)
		require.Equal(t, wantObjects, objects)
	}
	settle := func(fence int64) {
		t.Helper()
		out, err := settleAs(t.Context(), h.Target, h.Spec, "run_swept", fence)
		require.NoError(t, err)
		require.Equal(t, connector.Outcome{}, out)
	}
	for _, fence := range []int64{3, 7} {
		upload, object := names(fence)
		h.Begin(upload)
		h.Put(object)
	}
	settle(5)
	left(7)
	// One that was claimed before and comes late stops and removes no more.
	settle(2)
	left(7)
	settle(9)
	left()
}
