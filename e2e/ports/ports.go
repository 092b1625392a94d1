// Package ports hands out ports for what tests start.
package ports

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

// first and count bound the ports that are handed out. They lie below the ones that
// Linux takes for outgoing connections: a load that opens hundreds of those each
// second, of this package or of one that is tested beside it, would sooner or later
// have the one that is to be listened on.
const first, count = 20_000, 12_000

// handed counts the ports that were handed out. Processes begin at different
// places, so that two of them seldom try the same one.
var handed atomic.Int64

// Free gives a TCP port on 127.0.0.1 that nobody listens on, and none twice: who
// asked first may take a while until it listens.
func Free() (int, error) {
	for range count {
		port := first + (os.Getpid()*97+int(handed.Add(1)))%count
		if IsFree(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no port from %d to %d is free", first, first+count-1)
}

// IsFree tries all addresses: what is published takes all of them.
func IsFree(port int) bool {
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
