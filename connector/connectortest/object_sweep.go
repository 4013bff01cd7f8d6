package connectortest

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// Sweep requires that a settlement removes what loads have left that its marker stops, and nothing that a later load has begun.
func Sweep(t *testing.T, store ObjectStore) {
	t.Helper()
	spec, folder, target := FaultSpec(), FaultSpec().Prefix+"/", store.target(t, nil)
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
		require.ElementsMatch(t, wantUploads, store.Uploads(t, folder))
		require.ElementsMatch(t, wantObjects, slices.Collect(maps.Keys(store.Objects(t, folder))))
	}
	settle := func(fence int64) {
		t.Helper()
		out, err := settleAs(t.Context(), target, spec, "run_swept", fence)
		require.NoError(t, err)
		require.Equal(t, connector.Outcome{}, out)
	}
	for _, fence := range []int64{3, 7} {
		upload, object := names(fence)
		store.Begin(t, folder+upload)
		store.Put(t, folder+object, "left")
	}
	settle(5)
	left(7)
	// One that was claimed before and comes late stops and removes no more.
	settle(2)
	left(7)
	settle(9)
	left()
}
