// Package loopback tells addresses that only this machine can reach from others. TLS is optional on the former alone.
package loopback

import (
	"net"
	"net/netip"
	"strings"
)

// Is reports whether a listen or dial address can only be reached from this machine: an IP of a loopback network, the
// name localhost, or a Unix socket. An empty host listens on every interface and is not.
func Is(address string) bool {
	if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "unix-abstract:") {
		return true
	}
	for _, scheme := range []string{"passthrough:///", "dns:///"} {
		address = strings.TrimPrefix(address, scheme)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

// Local returns the address under which this machine reaches a server that listens on address: a wildcard host becomes
// the loopback address of its family.
func Local(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	switch host {
	case "", "0.0.0.0":
		return net.JoinHostPort("127.0.0.1", port)
	case "::":
		return net.JoinHostPort("::1", port)
	}
	return address
}
