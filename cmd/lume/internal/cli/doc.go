// Package cli is the command line of Lume: one file per noun. Commands speak gRPC to control and hold no logic of
// their own; what a command prints is a table for people, or JSON and YAML in the API's own shape for programs.
//
// Exit codes are part of the contract and listed in [ExitOK] and its neighbours.
package cli
