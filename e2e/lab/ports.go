package lab

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

// firstPort and portCount bound the ports that are handed out. They lie below the
// ones that Linux takes for outgoing connections: a load that opens hundreds of
// those each second would sooner or later have one that is to be published.
const firstPort, portCount = 20_000, 12_000

// handed counts the ports that were handed out. Processes begin at different
// places, so that two of them seldom try the same one.
var handed atomic.Int64

// FreePort gives a TCP port on 127.0.0.1 that nobody listens on, and none twice:
// who asked first may take a while until it listens.
func FreePort() (int, error) {
	for range portCount {
		port := firstPort + (os.Getpid()*97+int(handed.Add(1)))%portCount
		if isFree(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no port from %d to %d is free", firstPort, firstPort+portCount-1)
}

// isFree tries all addresses: what is published takes all of them.
func isFree(port int) bool {
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
