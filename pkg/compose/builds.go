package compose

import (
	"context"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// Builds is what a build has to know of a workspace's Compose files.
type Builds struct {
	// Project is the model as Compose reads it. Only names, images, `build:` and
	// the secrets of it can be relied on: variables that are used elsewhere need
	// not be set.
	Project *types.Project
	// Warnings are things worth telling that stop nothing.
	Warnings []string

	loading *loading
}

// LoadBuilds reads the Compose files as Load does, for a build: it asks only for
// the variables that decide about images, and lets pass what only a deploy
// refuses.
func LoadBuilds(ctx context.Context, opts LoadOptions) (*Builds, error) {
	l, name, err := begin(ctx, opts, builds)
	if err != nil {
		return nil, err
	}
	l.lenient = true
	project, err := l.project(name)
	if err != nil {
		return nil, err
	}
	return &Builds{Project: project, Warnings: l.warns, loading: l}, nil
}

// Place names the file and the line of a path of the model
// ("services.api.build").
func (b *Builds) Place(path string) string { return b.loading.scan.place(path, b.loading.main()) }

// Confine gives the file or folder of the workspace that a path really is. The
// error says what is wrong with it without naming it.
func (b *Builds) Confine(path string) (string, error) { return b.loading.ws.confine(path) }

// Rel names a path as people know it: relative to the workspace.
func (b *Builds) Rel(path string) string { return b.loading.ws.rel(path) }

// Variables is what a Compose file of these options can see.
func Variables(opts LoadOptions) (map[string]string, error) { return explicitEnvironment(opts) }

// builds tells the variables that decide about images from the others. Text that
// is written under a key of ours (x-...) may end up anywhere.
func builds(u unsetVariable) bool {
	keys := strings.Split(u.Path, ".")
	return !u.NoDefault && (slices.Contains(keys, "build") || slices.Contains(keys, "image") ||
		slices.Contains([]string{"name", "include", "secrets"}, keys[0]) || slices.Contains(keys, "extends"))
}
