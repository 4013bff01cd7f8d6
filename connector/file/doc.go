// Package file is the connector to a folder of this machine: the embedded default, and the one for network file systems.
//
// The folder must lie below one of the roots that the operator allows. It is opened with [os.Root], which follows no link out
// of it, so that neither a path nor a link that somebody puts there reaches anything else.
package file
