// Package connectortest is the suite that every connector passes.
//
// A connector's tests say how to reach a real system and what that system truly cannot do, and call [Target],
// [ObjectSource], [RowSource] and [Checks]. What they promise is the same for all: a load is there once or not at all,
// whatever is cut, repeated or run side by side; values come back as they went in; errors have a reason and show nothing.
//
// Values are written as text in one canonical form per type (see [Canonical]), so that systems of different types can be
// compared: what a connector's source delivers, and what a file holds.
package connectortest
