package platform

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// A stack that asks for a Swarm, released on one host by the input engine.
func TestOneHostRefusesWhatOnlyASwarmHas(t *testing.T) {
	t.Parallel()
	with := func(readOnly bool, config, secret types.FileObjectConfig) *stack.Stack {
		c := types.ServiceConfig{Name: "api"}
		c.ReadOnly, c.Configs, c.Secrets = readOnly, []types.ServiceConfigObjConfig{{Source: "c"}}, []types.ServiceSecretConfig{{Source: "s"}}
		return &stack.Stack{Name: "shop", Order: []string{"api"}, Project: &types.Project{Services: types.Services{"api": c},
			Configs: types.Configs{"c": types.ConfigObjConfig(config)}, Secrets: types.Secrets{"s": types.SecretConfig(secret)}}}
	}
	text, made := types.FileObjectConfig{Content: "x"}, types.FileObjectConfig{External: true}
	assert.NoError(t, oneHost{}.Adapt(t.Context(), with(false, text, text)))
	for want, st := range map[string]*stack.Stack{
		"configs.c: configs.c is external, which needs a Swarm":                                  with(false, made, text),
		"secrets.s: secrets.s is external, which needs a Swarm":                                  with(false, text, made),
		"configs.c: service api is read_only, so the content of configs.c cannot be put into it": with(true, text, text),
	} {
		err := oneHost{}.Adapt(t.Context(), st)
		assert.EqualError(t, err, want)
		assert.Equal(t, fault.Input, fault.Of(err))
	}
}
