// Package blob is what the connectors of object stores share: everything but how to reach the store.
//
// A system gives a [Store] (a dozen small operations with exact semantics) and a [Location] (how its URIs map to keys, and
// which keys the connector may touch). [New] makes a connector of the two: a source that reads pinned ranges and carries on
// after a cut, a discoverer, and a target.
//
// A load into an object store is a run's folder, `<prefix>/run_id=<run>/`. Data objects are written first, under names that no
// other attempt uses; `_metadata.json`, the marker with the receipt and the list of the data objects, is written last, by a
// conditional write: only if there is none, or in the place of an aborted one with a lower fence, by its entity tag. A committed
// marker makes the objects that it lists part of the target, for good. An aborted one makes sure that no load will commit whose
// fence is not higher: their objects, whose names hold the fence, are dead. A replace then moves the pointer `<prefix>/_current.json`,
// also by a conditional write. TYPES.md beside each connector says what readers may rely on.
package blob
