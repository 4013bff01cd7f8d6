// Package control is the service that owns connectors, flows, versions, runs and API keys: the only writer of run
// state, and its database the only truth. [New] builds everything, [Service.Run] serves until its context ends.
package control
