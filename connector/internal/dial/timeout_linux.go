package dial

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unansweredTimeout is how long sent data may stay without an acknowledgement before the connection is given up.
const unansweredTimeout = 60 * time.Second

// control gives up connections to hosts that are gone, instead of after the system's quarter of an hour.
func control(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unansweredTimeout.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}
