package swarm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

const (
	// largest is what a config or secret may hold, in bytes: Swarm keeps them in the
	// store that its managers agree on.
	largest = 500 * 1024
	// nameSum is how many digits of a sum stand in the name of an object.
	nameSum = 12
)

// object is a config or secret that a service mounts. Objects never change: what
// they hold is in their name, and a service with another content has another object.
type object struct {
	name, key, sum string
	secret         bool
	// target is where the file stands, mount the target of the mount in the model that
	// it takes the place of ("" for what the model calls config or secret itself).
	target, mount string
	uid, gid      string
	mode          os.FileMode
	// external objects are not ours to make.
	external bool
	// content gives what it holds; it is asked for only where the object is missing.
	content func(ctx context.Context) ([]byte, error)
}

// objectsOf lists the configs and secrets of a service: its files of the workspace,
// and what the model has content for.
func (s *Swarm) objectsOf(st *stack.Stack, name string) []object {
	svc, c := st.Services[name], st.Project.Services[name]
	var out []object
	for _, f := range svc.Files {
		for _, e := range f.Entries {
			out = append(out, object{
				name: objectName(st.Name, path.Base(f.Target), e.Sum), key: path.Base(f.Target), sum: e.Sum, secret: f.IsSecret(),
				target: path.Join(f.Target, e.Path), mount: f.Target, uid: "0", gid: "0", mode: os.FileMode(e.Mode),
				content: func(ctx context.Context) ([]byte, error) { return s.Content(ctx, f, e.Path) },
			})
		}
	}
	for _, ref := range c.Configs {
		def := st.Project.Configs[ref.Source]
		out = append(out, named(st, ref.Source, def.Name, def.Content, def.Environment, bool(def.External), false, ref.Target, "/"+ref.Source, ref.UID, ref.GID, (*int64)(ref.Mode)))
	}
	for _, ref := range c.Secrets {
		def := st.Project.Secrets[ref.Source]
		out = append(out, named(st, ref.Source, def.Name, def.Content, def.Environment, bool(def.External), true, ref.Target, ref.Source, ref.UID, ref.GID, (*int64)(ref.Mode)))
	}
	slices.SortStableFunc(out, func(a, b object) int { return strings.Compare(a.target, b.target) })
	return out
}

// named is a config or secret that the model has by name.
func named(st *stack.Stack, key, name, content, variable string, external, secret bool, target, usual, uid, gid string, mode *int64) object {
	if content == "" && variable != "" {
		content = st.Project.Environment[variable]
	}
	if target == "" {
		target = usual
	}
	if uid == "" {
		uid = "0"
	}
	if gid == "" {
		gid = "0"
	}
	o := object{name: name, key: key, secret: secret, target: target, uid: uid, gid: gid, mode: 0o444, external: external,
		content: func(context.Context) ([]byte, error) { return []byte(content), nil }}
	if mode != nil {
		o.mode = os.FileMode(*mode)
	}
	if !external {
		// The project's name is a salt: a name tells nothing of a secret that is known elsewhere.
		sum := sha256.Sum256([]byte(st.Name + "\n" + key + "\n" + content))
		o.sum = hex.EncodeToString(sum[:])
		o.name = objectName(st.Name, key, o.sum)
	}
	return o
}

// objectName is project_key_sum, at most 64 characters as Swarm wants it.
func objectName(project, key, sum string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, key)
	room := 64 - len(project) - nameSum - 2
	return project + "_" + strings.Trim(clean[:min(len(clean), max(room, 0))], "-_.") + "_" + sum[:nameSum]
}

// ensure makes the objects that are missing and gives the ids of all by kind and name:
// the same content may be a config and a secret.
func (s *Swarm) ensure(ctx context.Context, st *stack.Stack, objects []object) (map[string]string, error) {
	if len(objects) == 0 {
		return nil, nil
	}
	there, err := s.objects(ctx, make(client.Filters))
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for _, o := range objects {
		found, ok := there[kindOf(o.secret)+o.name]
		if !ok {
			if found.id, err = s.makeObject(ctx, st, o); err != nil {
				if found.id = s.madeBeside(ctx, o, err); found.id == "" {
					return nil, err
				}
			}
			there[kindOf(o.secret)+o.name] = found
		}
		ids[kindOf(o.secret)+o.name] = found.id
	}
	return ids, nil
}

// madeBeside gives the id of an object that was refused because it is there by now:
// services that come up side by side may mount the same one.
func (s *Swarm) madeBeside(ctx context.Context, o object, refused error) string {
	if !errdefs.IsConflict(refused) && !errdefs.IsAlreadyExists(refused) {
		return ""
	}
	there, err := s.objects(ctx, make(client.Filters))
	if err != nil {
		return ""
	}
	return there[kindOf(o.secret)+o.name].id
}

func kindOf(secret bool) string {
	if secret {
		return "secret "
	}
	return "config "
}

func (s *Swarm) makeObject(ctx context.Context, st *stack.Stack, o object) (string, error) {
	if o.external {
		return "", fault.New(fault.Refused, kindOf(o.secret)+o.key, "make it on the Swarm: docker "+kindOf(o.secret)+"create "+o.name+" FILE",
			"%s is declared external and does not exist", o.name)
	}
	data, err := o.content(ctx)
	if err != nil {
		return "", fmt.Errorf("read what %s%s holds: %w", kindOf(o.secret), o.key, err)
	}
	if len(data) > largest {
		return "", fault.New(fault.Refused, o.target, "put it into the image, or into a volume",
			"%s is %d KiB, and a Swarm keeps at most %d KiB of a file", o.key, len(data)>>10, largest>>10)
	}
	meta := swarm.Annotations{Name: o.name, Labels: map[string]string{namespaceLabel: st.Name, keyLabel: o.key}}
	if o.secret {
		res, err := s.API.SecretCreate(ctx, client.SecretCreateOptions{Spec: swarm.SecretSpec{Annotations: meta, Data: data}})
		return res.ID, wrap(err, "make the secret %s", o.name)
	}
	res, err := s.API.ConfigCreate(ctx, client.ConfigCreateOptions{Spec: swarm.ConfigSpec{Annotations: meta, Data: data}})
	return res.ID, wrap(err, "make the config %s", o.name)
}

// Lacks says by service what it has of others, by its file, and the Swarm does not: configs,
// secrets and networks. Swarm says so only when it is given the service.
func (s *Swarm) Lacks(ctx context.Context, st *stack.Stack) (map[string][]string, error) {
	wants := map[string][]string{}
	for name, svc := range st.Services {
		for _, o := range s.objectsOf(st, name) {
			if o.external {
				wants[name] = append(wants[name], kindOf(o.secret)+o.name)
			}
		}
		for _, key := range svc.Networks {
			if n := st.Project.Networks[key]; n.External {
				wants[name] = append(wants[name], "network "+n.Name)
			}
		}
	}
	if len(wants) == 0 {
		return nil, nil
	}
	there, err := s.objects(ctx, make(client.Filters))
	if err != nil {
		return nil, err
	}
	networks, err := s.API.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the networks of the Swarm: %w", err)
	}
	for _, n := range networks.Items {
		there["network "+n.Name] = found{}
	}
	for name := range wants {
		wants[name] = slices.DeleteFunc(wants[name], func(what string) bool { _, ok := there[what]; return ok })
		slices.Sort(wants[name])
	}
	maps.DeleteFunc(wants, func(_ string, lacks []string) bool { return len(lacks) == 0 })
	return wants, nil
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// found is an object of the Swarm.
type found struct {
	id, name string
	secret   bool
}

// objects lists configs and secrets by kind and name.
func (s *Swarm) objects(ctx context.Context, filters client.Filters) (map[string]found, error) {
	configs, err := s.API.ConfigList(ctx, client.ConfigListOptions{Filters: filters})
	if err != nil {
		return nil, fmt.Errorf("list the configs of the Swarm: %w", err)
	}
	secrets, err := s.API.SecretList(ctx, client.SecretListOptions{Filters: filters})
	if err != nil {
		return nil, fmt.Errorf("list the secrets of the Swarm: %w", err)
	}
	out := map[string]found{}
	for _, c := range configs.Items {
		out[kindOf(false)+c.Spec.Name] = found{c.ID, c.Spec.Name, false}
	}
	for _, c := range secrets.Items {
		out[kindOf(true)+c.Spec.Name] = found{c.ID, c.Spec.Name, true}
	}
	return out, nil
}

// Prune removes the configs and secrets of a project that no kept release mounts.
// One that a task still uses stays, and goes the next time.
func (s *Swarm) Prune(ctx context.Context, project string, kept func(context.Context) ([]*stack.Stack, error)) error {
	there, err := s.objects(ctx, of(project))
	if err != nil || len(there) == 0 {
		return err
	}
	stacks, err := kept(ctx)
	if err != nil {
		return err
	}
	for _, st := range stacks {
		for name := range st.Services {
			for _, o := range s.objectsOf(st, name) {
				delete(there, kindOf(o.secret)+o.name)
			}
		}
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(there)) {
		errs = append(errs, s.removeObject(ctx, there[key]))
	}
	return errors.Join(errs...)
}

func (s *Swarm) removeObject(ctx context.Context, o found) (err error) {
	if o.secret {
		_, err = s.API.SecretRemove(ctx, o.id, client.SecretRemoveOptions{})
	} else {
		_, err = s.API.ConfigRemove(ctx, o.id, client.ConfigRemoveOptions{})
	}
	if err == nil || errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) || errdefs.IsConflict(err) {
		return nil // in use, or gone already
	}
	return wrap(err, "remove the %s%s", kindOf(o.secret), o.name)
}
