package stack_test

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/stack"
)

func tiny(hash string, names ...string) *stack.Stack {
	s := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{}, Project: &types.Project{Services: types.Services{}}}
	for _, n := range names {
		s.Order = append(s.Order, n)
		s.Services[n] = &stack.Service{Name: n, Hash: hash}
		s.Project.Services[n] = types.ServiceConfig{Name: n}
	}
	return s
}

func TestPartial_KeepsWhatWasNotSelected(t *testing.T) {
	t.Parallel()
	now, before := tiny("new", "db", "api", "extra"), tiny("old", "db", "api", "gone")
	got, err := now.Partial(before, []string{"api"})
	require.NoError(t, err)
	assert.Equal(t, []string{"db", "api"}, got.Order, "what was never released is not in it")
	assert.Equal(t, "new", got.Services["api"].Hash)
	assert.Equal(t, "old", got.Services["db"].Hash)
	assert.Len(t, got.Project.Services, 2)
	assert.Equal(t, []string{"db", "api", "extra"}, now.Order, "the stack itself is unchanged")
}

func TestPartial_OfAFirstRelease(t *testing.T) {
	t.Parallel()
	got, err := tiny("new", "db", "api").Partial(nil, []string{"api"})
	require.NoError(t, err)
	assert.Equal(t, []string{"api"}, got.Order)
}

// shared has two services that use a volume and a config of their own each, and a
// network and a secret of both.
func shared(hash string) *stack.Stack {
	s := tiny(hash, "db", "api")
	p := s.Project
	p.Environment = types.Mapping{"CONF": hash, "TOKEN": "the same"}
	p.Networks = types.Networks{"back": {Name: "shop_back"}}
	p.Volumes, p.Configs = types.Volumes{}, types.Configs{}
	p.Secrets = types.Secrets{"token": {Name: "shop_token", Environment: "TOKEN"}}
	for name, c := range p.Services {
		p.Volumes[name], p.Configs[name] = types.VolumeConfig{Name: "shop_" + name}, types.ConfigObjConfig{Environment: "CONF"}
		c.Networks = map[string]*types.ServiceNetworkConfig{"back": nil}
		c.Volumes = []types.ServiceVolumeConfig{{Type: types.VolumeTypeVolume, Source: name}, {Type: types.VolumeTypeVolume, Target: "/cache"}}
		c.Configs = []types.ServiceConfigObjConfig{{Source: name}}
		c.Secrets = []types.ServiceSecretConfig{{Source: "token"}}
		p.Services[name] = c
	}
	return s
}

// What a service that is not released uses stays as it was: a way back would give it
// another volume or another content.
func TestPartial_KeepsWhatOthersUse(t *testing.T) {
	t.Parallel()
	now, before := shared("new"), shared("old")
	now.Project.Volumes = types.Volumes{"api": {Name: "shop_api"}, "pgdata": {Name: "shop_pgdata"}}
	got, err := now.Partial(before, []string{"api"})
	require.NoError(t, err)
	assert.Equal(t, "shop_db", got.Project.Volumes["db"].Name)
	assert.Equal(t, types.ConfigObjConfig{Content: "old"}, got.Project.Configs["db"])
	assert.Equal(t, types.ConfigObjConfig{Environment: "CONF"}, got.Project.Configs["api"])
	assert.Equal(t, now.Project.Secrets, got.Project.Secrets, "what is the same stays as it is written")
	assert.NotContains(t, now.Project.Volumes, "db", "the stack itself is unchanged")
}

// A config or secret of both is the new one: it often has the version in it.
func TestPartial_SharedContentIsTheNewOne(t *testing.T) {
	t.Parallel()
	now := shared("new")
	now.Project.Environment["TOKEN"] = "another"
	got, err := now.Partial(shared("old"), []string{"api"})
	require.NoError(t, err)
	assert.Equal(t, now.Project.Secrets, got.Project.Secrets)
	assert.Equal(t, "another", got.Project.Environment["TOKEN"])
}

// A network or volume that both the released and the others use cannot be two things
// at once.
func TestPartial_RefusesTwoOfOne(t *testing.T) {
	t.Parallel()
	for says, change := range map[string]func(*types.Project){
		"network back": func(p *types.Project) { p.Networks = types.Networks{"back": {Name: "shop_back", Internal: true}} },
		"volume db":    func(p *types.Project) { p.Volumes["db"] = types.VolumeConfig{Name: "elsewhere"} },
	} {
		now := shared("new")
		api := now.Project.Services["api"]
		api.Volumes = append(api.Volumes, types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Source: "db"})
		now.Project.Services["api"] = api
		_, err := now.Partial(shared("old"), []string{"api"})
		require.NoError(t, err)
		change(now.Project)
		_, err = now.Partial(shared("old"), []string{"api"})
		require.ErrorContains(t, err, says)
	}
}
