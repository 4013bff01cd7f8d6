// Package connector is the contract between Lume and the systems that it reads from and writes to.
//
// A connector is one folder below this one: it declares a [Spec] once, and a constructor that returns a [Connector].
// What a connector can do it says by implementing further interfaces: [ObjectSource] (object stores), [RowSource]
// (databases), [Discoverer] and [Target]. Package connectortest holds the suite that each of them passes.
//
// Promises that the platform makes to its users rest on three rules here. Secrets are a type that cannot be printed.
// Every error that may reach a client is an [*Error] with a stable reason; a driver's text stays in its cause. And a
// Target commits rows, rejects and marker together or not at all (see [Target.Load]).
package connector
