package up

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"

	"github.com/lume-data/lume/cmd/internal/datadir"
)

// DefaultPort is the base of the ports.
const DefaultPort = 7400

// addresses lays out the ports from a base: REST on base, base+10, +20, +30, gRPC on the port after each.
func addresses(base int) datadir.Endpoints {
	at := func(offset int) string { return fmt.Sprintf("127.0.0.1:%d", base+offset) }
	return datadir.Endpoints{
		ControlHTTP: at(0), ControlGRPC: at(1), IngestHTTP: at(10), IngestGRPC: at(11),
		TransformHTTP: at(20), TransformGRPC: at(21), EgressHTTP: at(30), EgressGRPC: at(31),
	}
}

// freeBase returns a random base whose ports nobody listens on. It keeps below the ports that the kernel gives to
// outgoing connections, which could take one of them before the services listen.
func freeBase() (int, error) {
	for range 200 {
		base := 10_000 + rand.IntN(22_000)
		if available(base) {
			return base, nil
		}
	}
	return 0, errors.New("there are no free ports")
}

func available(base int) bool {
	a := addresses(base)
	for _, address := range []string{a.ControlHTTP, a.ControlGRPC, a.IngestHTTP, a.IngestGRPC, a.TransformHTTP, a.TransformGRPC, a.EgressHTTP, a.EgressGRPC} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}
