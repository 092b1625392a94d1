package swarm

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// EnsureNetworks makes the networks of the model named by keys that do not exist. An
// existing one is never touched, however it is defined.
func (s *Swarm) EnsureNetworks(ctx context.Context, st *stack.Stack, keys []string) error {
	for _, key := range keys {
		n, known := st.Project.Networks[key]
		if !known {
			return fmt.Errorf("network %s is not defined in project %s", key, st.Name)
		}
		if err := s.makeNetwork(ctx, st, key, n); err != nil {
			return fmt.Errorf("make network %s: %w", n.Name, err)
		}
	}
	return nil
}

func (s *Swarm) makeNetwork(ctx context.Context, st *stack.Stack, key string, n types.NetworkConfig) error {
	there, err := s.API.NetworkInspect(ctx, n.Name, client.NetworkInspectOptions{})
	switch {
	case err == nil && there.Network.Scope != "swarm":
		return fault.New(fault.Refused, "network "+key, "remove it when nothing uses it any more (docker network rm "+n.Name+"), or give this one another name",
			"%s exists on the manager alone, made by something else than a Swarm", n.Name)
	case err == nil:
		return nil
	case !errdefs.IsNotFound(err):
		return err
	case bool(n.External):
		return fault.New(fault.Refused, "network "+key, "make it on the Swarm: docker network create --driver overlay --attachable "+n.Name, "%s is declared external and does not exist", n.Name)
	}
	hash, err := compose.NetworkHash(&n)
	if err != nil {
		return err
	}
	o := client.NetworkCreateOptions{
		Driver: n.Driver, Options: n.DriverOpts, Internal: n.Internal, Attachable: n.Attachable, EnableIPv6: n.EnableIPv6,
		Labels: map[string]string{namespaceLabel: st.Name, keyLabel: key, hashLabel: hash},
	}
	for name, value := range n.Labels {
		o.Labels[name] = value
	}
	if o.IPAM, err = ipam(n.Ipam); err != nil {
		return err
	}
	_, err = s.API.NetworkCreate(ctx, n.Name, o)
	return err
}

// ipam is how a network hands addresses out, nil for Swarm's own way.
func ipam(c types.IPAMConfig) (*network.IPAM, error) {
	if c.Driver == "" && len(c.Config) == 0 {
		return nil, nil
	}
	out := &network.IPAM{Driver: c.Driver}
	for _, pool := range c.Config {
		subnet, err := netip.ParsePrefix(pool.Subnet)
		if err != nil {
			return nil, fmt.Errorf("subnet %q: %w", pool.Subnet, err)
		}
		out.Config = append(out.Config, network.IPAMConfig{Subnet: subnet})
	}
	return out, nil
}

// EnsureVolumes has nothing to do: a node makes a volume with the first task that
// mounts it.
func (*Swarm) EnsureVolumes(context.Context, *stack.Stack, []string) error { return nil }
