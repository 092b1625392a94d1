package host

import (
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// fakeServer is an SSH server inside the test, for faults that sshd does not show on
// demand. It lets everybody in and leaves each channel to take.
func fakeServer(t *testing.T, take func(ssh.NewChannel)) (addr string, hostKey ssh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			go serveFake(raw, config, take)
		}
	}()
	return listener.Addr().String(), signer.PublicKey()
}

func serveFake(raw net.Conn, config *ssh.ServerConfig, take func(ssh.NewChannel)) {
	conn, channels, requests, err := ssh.NewServerConn(raw, config)
	if err != nil {
		_ = raw.Close()
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		go take(channel)
	}
}

// fakeConfig is what dials a fakeServer.
func fakeConfig(t *testing.T, addr string, hostKey ssh.PublicKey) Config {
	t.Helper()
	private, _ := newKey(t)
	return Config{Address: "deploy@" + addr, Key: private, KnownHosts: knownLine(addr, hostKey), ConnectTimeout: 500 * time.Millisecond}
}

// soon gives the error of do, which has to end by itself.
func soon(t *testing.T, do func() error) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- do() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		require.Fail(t, "it hangs")
		return nil
	}
}
