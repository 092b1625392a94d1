package swarm

import (
	"context"
	"sync"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
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
			assert.Equal(t, map[string]string{"secret " + objects[0].name: "first"}, ids, name)
		})
	}
	all.Wait()
}

// A secret of a file is a secret wherever it is mounted: a config is shown to everybody who
// reads the engine. What was made a config before is replaced for it, and nothing else.
func TestASecretWithAnAbsoluteTarget(t *testing.T) {
	t.Parallel()
	const file = "services:\n  api: {image: a, volumes: [\"./key.pem:/srv/key.pem:ro\"], secrets: [{source: key, target: /etc/tls/key.pem}]}\n" +
		"  worker: {image: b, secrets: [key], configs: [{source: conf, target: /etc/tls/key.pem}]}\nsecrets: {key: {file: ./key.pem}}\nconfigs: {conf: {file: ./site.conf}}\n"
	s := newSwarm(true)
	st := adapted(t, s, "", file)
	objects := s.objectsOf(st, "api")
	require.Len(t, objects, 2)
	assert.Equal(t, []any{"/etc/tls/key.pem", true}, []any{objects[0].target, objects[0].secret})
	assert.Equal(t, []any{"/srv/key.pem", false}, []any{objects[1].target, objects[1].secret}, "a volume says nothing of it")
	secrets, configs := references(objects, map[string]string{"secret " + objects[0].name: "a", "config " + objects[1].name: "b"})
	assert.Equal(t, []string{"a", "b"}, []string{secrets[0].SecretID, configs[0].ConfigID}, "of one content, which gives both their name")

	sealed, err := st.Seal()
	require.NoError(t, err)
	back, err := stack.Unseal(sealed)
	require.NoError(t, err)
	require.NoError(t, s.Adapt(t.Context(), back))
	assert.Equal(t, specs(t, s, st), specs(t, s, back))

	older := adapted(t, s, "", file)
	for _, svc := range older.Services {
		for i := range svc.Files {
			svc.Files[i].Secret = false // as it was sealed
		}
	}
	for i := range older.Project.Services["api"].Volumes {
		older.Project.Services["api"].Volumes[i].Consistency = ""
	}
	require.NoError(t, s.Adapt(t.Context(), older))
	assert.False(t, s.objectsOf(older, "api")[0].secret, "what was made of it is still there")
	assert.NotEqual(t, older.Services["api"].Hash, st.Services["api"].Hash)
	assert.Equal(t, older.Services["worker"].Hash, st.Services["worker"].Hash)
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

// What a service has of others and that is not there is known before anything changes.
func TestLacks(t *testing.T) {
	t.Parallel()
	s := newSwarm(true)
	st := adapted(t, s, "", "services:\n  api: {image: a, secrets: [key, own], configs: [site], networks: [edge, inner]}\n  web: {image: b, secrets: [there]}\n"+
		"secrets: {key: {external: true, name: api_key}, own: {environment: VERSION}, there: {external: true}}\nconfigs: {site: {external: true}}\n"+
		"networks: {edge: {external: true, name: front}, inner: {}}\nx-shiksha: {engine: swarm}\n")
	f := &fakeNodes{networks: []network.Summary{{Network: network.Network{Name: "shop_inner", Scope: "swarm"}}, {Network: network.Network{Name: "edge", Scope: "swarm"}}}}
	s.Host = Host{API: struct {
		*fakeStore
		networkLister
	}{&fakeStore{secrets: []swarm.Secret{{Spec: swarm.SecretSpec{Annotations: swarm.Annotations{Name: "there"}}}}}, f}}
	lacks, err := s.Lacks(t.Context(), st)
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"api": {"config site", "network front", "secret api_key"}}, lacks)

	s.API = nil // nothing is asked where nothing is of others
	lacks, err = s.Lacks(t.Context(), &stack.Stack{Services: map[string]*stack.Service{"api": {}}, Project: &types.Project{Services: types.Services{"api": {}}}})
	require.NoError(t, err)
	assert.Empty(t, lacks)
}

// networkLister is the part of a manager that lists networks.
type networkLister interface {
	NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error)
}
