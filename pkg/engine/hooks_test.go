package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeHook is an engine in which every command fails and says the same.
type fakeHook struct {
	client.APIClient
	says string
}

func (f *fakeHook) ExecCreate(context.Context, string, client.ExecCreateOptions) (client.ExecCreateResult, error) {
	return client.ExecCreateResult{ID: "1"}, nil
}

func (f *fakeHook) ExecAttach(context.Context, string, client.ExecAttachOptions) (client.ExecAttachResult, error) {
	frame := binary.BigEndian.AppendUint32([]byte{2, 0, 0, 0}, uint32(len(f.says))) // of its standard error
	here, there := net.Pipe()
	_ = there.Close()
	return client.ExecAttachResult{HijackedResponse: client.HijackedResponse{Conn: here, Reader: bufio.NewReader(bytes.NewReader(append(frame, f.says...)))}}, nil
}

func (f *fakeHook) ExecInspect(context.Context, string, client.ExecInspectOptions) (client.ExecInspectResult, error) {
	return client.ExecInspectResult{ExitCode: 3}, nil
}

// What a hook says is told without the secrets of the stack and of the one that it follows:
// the unit may be of that one.
func TestAPreStopHookThatFailsPrintsNoSecret(t *testing.T) {
	t.Parallel()
	rec := &event.Recorder{}
	e, err := New(&fakeHook{says: "cannot log in with old-one or new-one"}, rec)
	require.NoError(t, err)
	s := &stack.Stack{Name: "shop", Project: &types.Project{}, Services: map[string]*stack.Service{"api": {Environment: map[string]string{"DB_PASSWORD": "new-one"}}}}
	s.Follows([]string{"old-one"})
	e.preStop(t.Context(), s, "api", "api-1", []types.ServiceHook{{Command: types.ShellCommand{"/bye"}}})
	require.Len(t, rec.Events(), 1)
	assert.Contains(t, rec.Events()[0].Text, "ended with 3")
	assert.Equal(t, "cannot log in with *** or ***", rec.Events()[0].Output)
}
