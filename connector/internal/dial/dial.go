// Package dial is how connectors reach servers over TCP: with bounds on how long a host may stay silent, and TLS in the
// four modes that database users know from PostgreSQL.
package dial

import (
	"net"
	"time"
)

// Timeout bounds how long a connection may take to be made.
const Timeout = 15 * time.Second

// Dialer returns a dialer whose connections notice within about a minute and a half that their host is gone.
func Dialer() *net.Dialer {
	return &net.Dialer{Timeout: Timeout, Control: control, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 6,
	}}
}
