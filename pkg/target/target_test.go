package target

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
)

// A run that is told to end while it connects, or waits for the lock, was refused by nobody.
func TestARunToldToEndBeforeItBeganWasInterrupted(t *testing.T) {
	t.Parallel()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(100*time.Millisecond, cancel).Stop()
	_, err = Open(ctx, host.Config{Address: "deploy@" + silent.Addr().String(), Key: pem.EncodeToMemory(block),
		Fingerprint: "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, "", nil)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, fault.Interrupted, fault.Of(err), "%v", err)
}
