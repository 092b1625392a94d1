package swarm

import (
	"context"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
)

// fakeStore keeps secrets and refuses a second one of a name. It makes none before all
// who come have seen that there is none; refusal is set when it refuses each.
type fakeStore struct {
	client.APIClient
	looked  sync.WaitGroup
	refusal error

	mu      sync.Mutex
	secrets []swarm.Secret
}

func (f *fakeStore) ConfigList(context.Context, client.ConfigListOptions) (client.ConfigListResult, error) {
	return client.ConfigListResult{}, nil
}

func (f *fakeStore) SecretList(context.Context, client.SecretListOptions) (client.SecretListResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return client.SecretListResult{Items: f.secrets}, nil
}

func (f *fakeStore) SecretCreate(_ context.Context, o client.SecretCreateOptions) (client.SecretCreateResult, error) {
	f.looked.Done()
	f.looked.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refusal != nil {
		return client.SecretCreateResult{}, f.refusal
	}
	if len(f.secrets) > 0 {
		return client.SecretCreateResult{}, errdefs.ErrConflict.WithMessage("rpc error: code = AlreadyExists")
	}
	f.secrets = append(f.secrets, swarm.Secret{ID: "first", Spec: o.Spec})
	return client.SecretCreateResult{ID: "first"}, nil
}

// Services that come up side by side may mount the same secret: one makes it, and the
// other takes it.
func TestServicesThatMountTheSameSecret(t *testing.T) {
	t.Parallel()
	st := adapted(t, newSwarm(true), "", "services:\n  api: {image: a, secrets: [key]}\n  worker: {image: b, secrets: [key]}\nsecrets: {key: {environment: VERSION}}\n")
	store := &fakeStore{}
	store.looked.Add(2)
	s := &Swarm{Host: Host{API: store, Sink: event.Discard}}
	var all sync.WaitGroup
	for _, name := range []string{"api", "worker"} {
		all.Go(func() {
			objects := s.objectsOf(st, name)
			ids, err := s.ensure(t.Context(), st, objects)
			assert.NoError(t, err, name)
			assert.Equal(t, map[string]string{objects[0].name: "first"}, ids, name)
		})
	}
	all.Wait()
}

// What is refused for another reason is told.
func TestASecretThatIsRefused(t *testing.T) {
	t.Parallel()
	st := adapted(t, newSwarm(true), "", "services:\n  api: {image: a, secrets: [key]}\nsecrets: {key: {environment: VERSION}}\n")
	for _, refusal := range []error{errdefs.ErrConflict.WithMessage("out of sequence"), errdefs.ErrInvalidArgument.WithMessage("too large")} {
		store := &fakeStore{refusal: refusal}
		store.looked.Add(1)
		s := &Swarm{Host: Host{API: store, Sink: event.Discard}}
		_, err := s.ensure(t.Context(), st, s.objectsOf(st, "api"))
		require.ErrorIs(t, err, refusal)
	}
}
