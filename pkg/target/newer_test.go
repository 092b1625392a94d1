package target_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/backups"
	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollback"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/verify"
)

// fakeHost is this machine behind SSH, with an engine on which nothing runs: no verb that is
// tried with it is to come to more.
func fakeHost(t *testing.T) host.Config {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	docker := filepath.Join(t.TempDir(), "docker.sock")
	socket, err := net.Listen("unix", docker)
	require.NoError(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	go func() { _ = http.Serve(socket, http.HandlerFunc(fakeEngine)) }()
	go func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			go letIn(raw, config, docker)
		}
	}()
	return host.Config{Address: "deploy@" + listener.Addr().String(), Key: pem.EncodeToMemory(block), Fingerprint: ssh.FingerprintSHA256(signer.PublicKey())}
}

func fakeEngine(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.44")
	w.Header().Set("Content-Type", "application/json")
	answer := "[]"
	for path, says := range map[string]string{"/_ping": "OK", "/info": `{"Swarm": {"LocalNodeState": "inactive"}}`, "/volumes": `{}`} {
		if strings.HasSuffix(r.URL.Path, path) {
			answer = says
		}
	}
	_, _ = io.WriteString(w, answer)
}

func letIn(raw net.Conn, config *ssh.ServerConfig, docker string) {
	_, channels, requests, err := ssh.NewServerConn(raw, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for asked := range channels {
		channel, requests, err := asked.Accept()
		if err != nil {
			return
		}
		if asked.ChannelType() != "session" {
			go ssh.DiscardRequests(requests)
			go func() {
				defer channel.Close()
				if to, err := net.Dial("unix", docker); err == nil {
					go func() { _, _ = io.Copy(to, channel) }()
					_, _ = io.Copy(channel, to)
				}
			}()
			continue
		}
		go func() {
			for r := range requests {
				_ = r.Reply(true, nil)
				go serve(channel, r)
			}
		}()
	}
}

// serve has the machine do what a session asks for.
func serve(channel ssh.Channel, r *ssh.Request) {
	switch r.Type {
	case "subsystem":
		if s, err := sftp.NewServer(channel); err == nil {
			_ = s.Serve()
		}
	case "exec":
		var line struct{ Command string }
		_ = ssh.Unmarshal(r.Payload, &line)
		cmd := exec.Command("sh", "-c", line.Command)
		stdin, _ := cmd.StdinPipe()
		go func() { _, _ = io.Copy(stdin, channel); _ = stdin.Close() }()
		cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
		code := struct{ Code uint32 }{}
		if err := cmd.Run(); err != nil {
			code.Code = 1
		}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(code))
		_ = channel.Close()
	}
}

// twoReleases makes the ledger of two releases, and then does something to what the second wrote.
func twoReleases(t *testing.T, ws, state string, then func([]byte) []byte) {
	t.Helper()
	text := "services: {db: {image: postgres, x-shiksha: {backups: {}}}}\nx-shiksha:\n  checks:\n    - name: later\n      quantum: {}\n"
	require.NoError(t, os.WriteFile(filepath.Join(ws, "compose.yaml"), []byte(text), 0o600))
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: ws, Project: "shop", StateDir: state})
	require.NoError(t, err)
	require.NoError(t, st.Pin(map[string]string{"db": "postgres@sha256:" + strings.Repeat("1", 64)}))
	sealed, err := st.Seal()
	require.NoError(t, err)
	l, err := release.Open(t.Context(), disk.Files{}, state, "shop")
	require.NoError(t, err)
	for n := 1; n <= 2; n++ {
		require.NoError(t, l.Append(t.Context(), &release.Record{Version: fmt.Sprint("v", n), Outcome: release.Verified}))
		require.NoError(t, l.WriteSealed(t.Context(), n, sealed))
	}
	for _, name := range []string{"chain.json", "releases/2.json"} {
		file := filepath.Join(state, "shop", name)
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, then(data), 0o600))
	}
}

// An older program over the ledger of a newer one acts by nothing that it does not know: what
// would, is refused before it looks at what runs, and what only looks says so.
func TestALedgerOfANewerVersion(t *testing.T) {
	t.Parallel()
	ws, state, config := t.TempDir(), t.TempDir(), fakeHost(t)
	twoReleases(t, ws, state, func(b []byte) []byte {
		return bytes.Replace(b, fmt.Appendf(nil, `"schema": %d`, release.Schema), []byte(`"schema": 99`), 1)
	})
	const newer = "release 2 of shop was written by a newer version of shiksha (schema 99, this one knows"
	about := deploy.Options{Host: config, Project: "shop", StateDir: state, Workspace: ws, Preflight: deploy.Off, Images: map[string]string{"db": "postgres@sha256:" + strings.Repeat("2", 64)}}
	told := &event.Recorder{}
	for name, run := range map[string]func(context.Context) error{
		"deploy": func(ctx context.Context) error { _, err := deploy.Run(ctx, about, told); return err },
		"plan": func(ctx context.Context) error {
			o := about
			o.DryRun = true
			_, err := deploy.Run(ctx, o, told)
			return err
		},
		"rollback": func(ctx context.Context) error {
			_, err := rollback.Run(ctx, rollback.Options{Host: config, Project: "shop", StateDir: state}, told)
			return err
		},
		"its plan": func(ctx context.Context) error {
			_, err := rollback.Run(ctx, rollback.Options{Host: config, Project: "shop", StateDir: state, Release: 1, Asked: converge.Asked{DryRun: true}}, told)
			return err
		},
		"verify": func(ctx context.Context) error {
			_, err := verify.Run(ctx, verify.Options{Settings: verify.Settings{Project: "shop"}, Host: config, StateDir: state, Workspace: t.TempDir()}, told)
			return err
		},
	} {
		err := run(t.Context())
		require.ErrorContains(t, err, newer, name)
		assert.Equal(t, fault.Refused, fault.Of(err), name)
		assert.Contains(t, fault.Hint(err), "that version of shiksha", name)
	}
	status, err := deploy.Status(t.Context(), about, told)
	require.NoError(t, err)
	assert.Contains(t, status.Newer, newer)
	history, err := deploy.History(t.Context(), about, told)
	require.NoError(t, err)
	assert.Contains(t, history.Newer, newer)
	assert.Len(t, history.Releases, 1)
	for _, e := range told.Events() {
		assert.NotContains(t, e.Text, "the ledger is damaged", "it is not")
	}
	_, err = backups.Take(t.Context(), backups.Options{Host: config, Project: "shop", StateDir: state}, told)
	require.ErrorContains(t, err, newer)
	require.ErrorContains(t, err, "so the databases are those of release 1, and no older backup is let go\nno backup of db was made: ")
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.Contains(t, fault.Hint(err), "that version of shiksha")
}

// A rollback that does not understand the checks of the release says how to go without them.
func TestChecksOfAnotherVersion(t *testing.T) {
	t.Parallel()
	ws, state, config := t.TempDir(), t.TempDir(), fakeHost(t)
	twoReleases(t, ws, state, func(b []byte) []byte { return b })
	o := rollback.Options{Host: config, Project: "shop", StateDir: state, Release: 1, Verify: func(st *stack.Stack) (converge.Verifier, error) {
		return verify.NewGate(st, verify.Settings{})
	}}
	_, err := rollback.Run(t.Context(), o, event.Discard)
	require.ErrorContains(t, err, "the checks that release 1 (v1) was made with are not understood by this version of shiksha: compose.yaml:")
	require.ErrorContains(t, err, "quantum")
	assert.Contains(t, fault.Hint(err), "--no-verify")
	assert.Equal(t, fault.Input, fault.Of(err))
}

// A record that is only damaged refuses nothing that can do without it.
func TestATornLedger(t *testing.T) {
	t.Parallel()
	ws, state, config := t.TempDir(), t.TempDir(), fakeHost(t)
	twoReleases(t, ws, state, func(b []byte) []byte {
		if bytes.Contains(b, []byte(`"head"`)) {
			return b
		}
		return b[:len(b)/2]
	})
	_, err := backups.Take(t.Context(), backups.Options{Host: config, Project: "shop", StateDir: state}, event.Discard)
	require.ErrorContains(t, err, "the ledger is damaged: release 2: cut off or not JSON")
	require.ErrorContains(t, err, "so the databases are those of release 1, and no older backup is let go\nno backup of db was made: ")
	status, err := deploy.Status(t.Context(), deploy.Options{Host: config, Project: "shop", StateDir: state}, event.Discard)
	require.NoError(t, err)
	assert.Empty(t, status.Newer)
	assert.Equal(t, 1, status.Release)
}
