package stack

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/types"
	sdk "github.com/docker/compose/v5/pkg/compose"
)

// sealedVersion is the format that Seal writes; Unseal reads the older ones too: what
// they lack is not known. It is raised with every field added to what is sealed, because an
// older program would bring the stack back without it.
const sealedVersion = 2

// sealed is a whole stack without its workspace. Model is the Compose model as
// YAML: it is the one form that compose-go promises to read back.
type sealed struct {
	Version     int                 `json:"version"`
	Name        string              `json:"name"`
	Dir         string              `json:"dir"`
	Files       []string            `json:"files"`
	Order       []string            `json:"order"`
	Services    map[string]*Service `json:"services"`
	Environment map[string]string   `json:"environment"`
	Warnings    []string            `json:"warnings,omitempty"`
	Model       string              `json:"model"`
	Checks      *Checks             `json:"checks,omitempty"`
	URL         string              `json:"url,omitempty"`
	Engine      string              `json:"engine,omitempty"`
	Inactive    map[string][]string `json:"inactive,omitempty"`
}

// Seal writes down all that is needed to bring this stack back without its
// workspace. It holds the environment and the secrets: keep it in a file of
// mode 0600. Seal reads its own work back and fails rather than give something
// that would come back different.
func (s *Stack) Seal() ([]byte, error) {
	model, err := s.Project.MarshalYAML(types.WithSecretContent)
	if err != nil {
		return nil, fmt.Errorf("writing the model of %s down: %w", s.Name, err)
	}
	services := map[string]*Service{}
	for name, service := range s.Services {
		if service.Hash == "" {
			return nil, fmt.Errorf("sealing %s: service %s is not pinned", s.Name, name)
		}
		c := *service
		c.Files = withoutSources(c.Files)
		services[name] = &c
	}
	data, err := json.Marshal(sealed{
		Version: sealedVersion, Name: s.Name, Dir: s.Dir, Files: s.Project.ComposeFiles, Order: s.Order,
		Services: services, Environment: s.Project.Environment, Warnings: s.Warnings, Model: string(model), Checks: s.Checks, URL: s.URL, Engine: s.Engine,
		Inactive: s.Inactive,
	})
	if err != nil {
		return nil, fmt.Errorf("writing the stack %s down: %w", s.Name, err)
	}
	back, err := Unseal(data)
	if err != nil {
		return nil, fmt.Errorf("sealing %s: %w", s.Name, err)
	}
	if err := sameResources(s.Project, back.Project); err != nil {
		return nil, fmt.Errorf("sealing %s: %w", s.Name, err)
	}
	return data, nil
}

// sameResources makes sure that two models describe the same networks and
// volumes: Compose recreates one whose hash differs, and everything on it.
func sameResources(a, b *types.Project) error {
	for name, network := range a.Networks {
		other := b.Networks[name]
		before, err := sdk.NetworkHash(&network)
		if err != nil {
			return fmt.Errorf("hashing network %s: %w", name, err)
		}
		if after, err := sdk.NetworkHash(&other); err != nil || before != after {
			return fmt.Errorf("network %s would come back different", name)
		}
	}
	for name, volume := range a.Volumes {
		before, err := sdk.VolumeHash(volume)
		if err != nil {
			return fmt.Errorf("hashing volume %s: %w", name, err)
		}
		if after, err := sdk.VolumeHash(b.Volumes[name]); err != nil || before != after {
			return fmt.Errorf("volume %s would come back different", name)
		}
	}
	return nil
}

// withoutSources forgets where files were in the workspace: by the time a
// sealed stack is opened they are on the host.
func withoutSources(files []File) []File {
	files = slices.Clone(files)
	for i := range files {
		files[i].Source = ""
		files[i].Entries = slices.Clone(files[i].Entries)
		for j := range files[i].Entries {
			files[i].Entries[j].Source = ""
		}
	}
	return files
}

// Unseal brings a sealed stack back, pinned as it was. It computes every hash
// again: a stack that would be recreated differently is an error.
func Unseal(data []byte) (*Stack, error) {
	s, err := Open(data)
	if err != nil {
		return nil, err
	}
	for _, name := range s.Order {
		service := s.Services[name]
		hash, err := hashOf(s.Project.Services[name], noUnits)
		if err != nil {
			return nil, err
		}
		if hash != service.Hash {
			return nil, fmt.Errorf("service %s of the sealed stack %s is made otherwise by this program: its hash is %.12s and was %.12s", name, s.Name, hash, service.Hash)
		}
	}
	return s, nil
}

// Open brings a sealed stack back for who makes nothing of it: one that this program would
// recreate differently says as well what is backed up, and what depends on what.
func Open(data []byte) (*Stack, error) {
	var in sealed
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&in); err != nil {
		return nil, fmt.Errorf("the sealed stack cannot be read: %w", err)
	}
	if in.Version > sealedVersion {
		return nil, fmt.Errorf("the sealed stack was written by a newer version of shiksha (format %d, this one knows %d): use that version, or a newer one", in.Version, sealedVersion)
	}
	if in.Version < 1 {
		return nil, fmt.Errorf("the sealed stack does not say its format")
	}
	if !ValidProject(in.Name) {
		return nil, fmt.Errorf("the sealed stack has no valid name")
	}
	if in.Environment == nil {
		in.Environment = map[string]string{}
	}
	project, err := readModel(in)
	if err != nil {
		// The loader may quote a value, and who reads a plan is not to see what a variable was.
		given := &Stack{Name: in.Name, Project: &types.Project{Environment: in.Environment}}
		return nil, fmt.Errorf("the sealed model of %s cannot be read: %s", in.Name, strings.Join(strings.Fields(given.Hide(err.Error())), " "))
	}
	s := &Stack{Name: in.Name, Dir: in.Dir, Services: in.Services, Order: in.Order, Project: project, Warnings: in.Warnings, Checks: in.Checks, URL: in.URL, Engine: in.Engine,
		Inactive: in.Inactive}
	if len(s.Order) != len(s.Services) || len(project.Services) != len(s.Services) {
		return nil, fmt.Errorf("the sealed stack %s is not whole", in.Name)
	}
	for _, name := range s.Order {
		if s.Services[name] == nil || project.Services[name].Name == "" {
			return nil, fmt.Errorf("the sealed stack %s is not whole: service %s is missing", in.Name, name)
		}
	}
	return s, nil
}

// readModel reads the model back as it is: nothing is interpolated, completed,
// resolved or read from files a second time.
func readModel(in sealed) (*types.Project, error) {
	details := types.ConfigDetails{
		WorkingDir:  in.Dir,
		ConfigFiles: []types.ConfigFile{{Filename: "model.yaml", Content: []byte(in.Model)}},
		Environment: in.Environment,
	}
	project, err := loader.LoadWithContext(context.Background(), details, func(o *loader.Options) {
		o.SetProjectName(in.Name, true)
		o.SkipInterpolation, o.SkipValidation, o.SkipNormalization = true, true, true
		o.SkipConsistencyCheck, o.SkipInclude, o.SkipExtends = true, true, true
		// Defaults stay on: create_host_path is written only where it is false.
		o.SkipResolveEnvironment, o.SkipResolveLabels = true, true
		o.ResolvePaths = false
	})
	if err != nil {
		return nil, err
	}
	for name, config := range project.Configs {
		if config.Environment != "" {
			config.Content = in.Environment[config.Environment]
			project.Configs[name] = config
		}
	}
	Label(project, in.Dir, in.Files)
	return project, nil
}

const (
	// Mask stands where a secret was.
	Mask = "***"
	// MinSecret is the shortest value that is hidden wherever it occurs; hiding
	// "1" or "true" would hide everything.
	MinSecret = 6
)

// Redacted gives the model as JSON for the release's record, which more people
// read than may know the secrets: without values of variables, contents of
// configs and secrets, and any value of the environment wherever it stands.
func (s *Stack) Redacted() ([]byte, error) {
	data, err := s.Project.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("writing the model of %s down: %w", s.Name, err)
	}
	var tree map[string]any
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("reading the model of %s: %w", s.Name, err)
	}
	r := redactor{values: secretValues(s), names: map[string]bool{}}
	for _, name := range slices.Concat(s.Project.ServiceNames(), s.Project.NetworkNames(), s.Project.VolumeNames(),
		s.Project.ConfigNames(), s.Project.SecretNames()) {
		r.names[name] = true
	}
	for name := range tree {
		tree[name] = r.redact(tree[name], name)
	}
	out, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("writing the model of %s down: %w", s.Name, err)
	}
	return out, nil
}

// secretValues are the values to hide wherever they occur, longest first.
func secretValues(s *Stack) []string {
	var values []string
	add := func(v string) {
		if len(v) >= MinSecret && v != s.Name {
			values = append(values, v)
		}
	}
	for _, v := range s.Project.Environment {
		add(v)
	}
	for _, c := range s.Project.Configs {
		add(c.Content)
	}
	for _, c := range s.Project.Secrets {
		add(c.Content)
	}
	sort.Slice(values, func(i, j int) bool { return len(values[i]) > len(values[j]) })
	return values
}

type redactor struct {
	values []string
	names  map[string]bool
}

// redact hides values below a key. Keys are hidden too, since `labels: ["${X}"]`
// makes one of a value, but not those that the Compose schema or the stack uses.
func (r redactor) redact(v any, key string) any {
	switch v := v.(type) {
	case string:
		return r.text(v)
	case []any:
		for i := range v {
			v[i] = r.redact(v[i], key)
		}
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			name := k
			if !r.names[k] && !schemaKeys()[k] {
				name = r.text(k)
			}
			_, isText := e.(string)
			if isText && (key == "environment" || k == "content") {
				out[name] = Mask
				continue
			}
			out[name] = r.redact(e, k)
		}
		return out
	}
	return v
}

func (r redactor) text(s string) string {
	for _, v := range r.values {
		s = strings.ReplaceAll(s, v, Mask)
	}
	return s
}

// schemaKeys are all the keys that the Compose schema has anywhere.
var schemaKeys = sync.OnceValue(func() map[string]bool {
	keys := map[string]bool{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			properties, _ := v["properties"].(map[string]any)
			for k := range properties {
				keys[k] = true
			}
			for e := range maps.Values(v) {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	var tree any
	if json.Unmarshal([]byte(schema.Schema), &tree) == nil {
		walk(tree)
	}
	return keys
})

// EnvironmentHashes gives a hash of every variable of every service, by which
// two releases can be compared without either's values: HMAC-SHA256 with a key
// that stays on the host, because a password can be guessed from a plain hash.
func (s *Stack) EnvironmentHashes(key []byte) map[string]map[string]string {
	hashes := map[string]map[string]string{}
	for name, service := range s.Services {
		hashes[name] = map[string]string{}
		for variable, value := range service.Environment {
			mac := hmac.New(sha256.New, key)
			fmt.Fprintf(mac, "%s=%s", variable, value)
			hashes[name][variable] = hex.EncodeToString(mac.Sum(nil))[:16]
		}
	}
	return hashes
}
