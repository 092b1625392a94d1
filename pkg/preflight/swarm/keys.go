package swarm

import (
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/stack"
)

// key is one key of a service that the specification of a Swarm's service has no
// word for.
type key struct {
	name    string
	written func(types.ServiceConfig) bool
	// fatal is set where the service cannot be what the file says without it.
	fatal       bool
	found, mend string
}

// Where one container's namespaces, devices and rights are concerned, a service of a
// Swarm is less than a container: its specification (swarm.TaskSpec of the engine's
// API) has no such fields.
var keys = []key{
	{name: "annotations", written: func(c types.ServiceConfig) bool { return len(c.Annotations) > 0 },
		found: "annotations are left out", mend: "write what is read by programs as labels"},
	{name: "blkio_config", written: func(c types.ServiceConfig) bool { return c.BlkioConfig != nil },
		found: "limits of block devices are left out", mend: "give the service a node of its own (deploy.placement)"},
	{name: "cgroup", written: func(c types.ServiceConfig) bool { return c.Cgroup != "" },
		found: "each task gets the cgroup namespace that its engine gives by default", mend: "set default-cgroupns-mode in daemon.json of the nodes"},
	{name: "cgroup_parent", written: func(c types.ServiceConfig) bool { return c.CgroupParent != "" },
		found: "tasks go under the cgroup that their engine uses for all", mend: "set cgroup-parent in daemon.json of the nodes"},
	{name: "cpu_count", written: func(c types.ServiceConfig) bool { return c.CPUCount != 0 }, found: noTuning, mend: tuningMend},
	{name: "cpu_percent", written: func(c types.ServiceConfig) bool { return c.CPUPercent != 0 }, found: noTuning, mend: tuningMend},
	{name: "cpu_period", written: func(c types.ServiceConfig) bool { return c.CPUPeriod != 0 }, found: noTuning, mend: tuningMend},
	{name: "cpu_quota", written: func(c types.ServiceConfig) bool { return c.CPUQuota != 0 }, found: noTuning, mend: tuningMend},
	{name: "cpu_rt_period", written: func(c types.ServiceConfig) bool { return c.CPURTPeriod != 0 }, found: noTuning, mend: tuningMend},
	{name: "cpu_rt_runtime", written: func(c types.ServiceConfig) bool { return c.CPURTRuntime != 0 }, found: noTuning, mend: tuningMend},
	{name: "cpu_shares", written: func(c types.ServiceConfig) bool { return c.CPUShares != 0 }, found: noTuning, mend: tuningMend},
	{name: "cpuset", written: func(c types.ServiceConfig) bool { return c.CPUSet != "" }, found: noTuning, mend: tuningMend},
	{name: "device_cgroup_rules", written: func(c types.ServiceConfig) bool { return len(c.DeviceCgroupRules) > 0 }, fatal: true,
		found: "rules for devices are left out", mend: "keep the service on one host, beside the Swarm"},
	{name: "devices", written: func(c types.ServiceConfig) bool { return len(c.Devices) > 0 }, fatal: true,
		found: "a task gets no device", mend: "keep the service on one host, beside the Swarm; a GPU comes with a generic resource (deploy.resources.reservations.generic_resources)"},
	{name: "dns_opt", written: func(c types.ServiceConfig) bool { return len(c.DNSOpts) > 0 },
		found: "options of the resolver are left out", mend: "set dns-opts in daemon.json of the nodes"},
	{name: "domainname", written: func(c types.ServiceConfig) bool { return c.DomainName != "" },
		found: "tasks have no domain name", mend: "write the whole name as hostname"},
	{name: "external_links", written: func(c types.ServiceConfig) bool { return len(c.ExternalLinks) > 0 }, fatal: true,
		found: "links to other containers are left out", mend: "join both to one network (networks: {NAME: {external: true}})"},
	{name: "group_add", written: func(c types.ServiceConfig) bool { return len(c.GroupAdd) > 0 }, fatal: true,
		found: "the program is in no further group", mend: "name the group that it needs most: user: \"UID:GID\""},
	{name: "gpus", written: func(c types.ServiceConfig) bool { return len(c.Gpus) > 0 }, fatal: true, found: "a task gets no GPU", mend: gpuMend},
	{name: "ipc", written: func(c types.ServiceConfig) bool { return own(c.Ipc) },
		found: "each task has a shared memory of its own, of 64 MB", mend: "give it more: volumes: [{type: tmpfs, target: /dev/shm, tmpfs: {size: 8gb}}]"},
	{name: "links", written: func(c types.ServiceConfig) bool { return len(c.Links) > 0 },
		found: "links are left out, with the names they give", mend: "reach the service by its own name, or by an alias: networks: {NAME: {aliases: [...]}}"},
	{name: "mac_address", written: func(c types.ServiceConfig) bool { return c.MacAddress != "" },
		found: "the MAC address is left out", mend: "do without: tasks come and go"},
	{name: "mem_swappiness", written: func(c types.ServiceConfig) bool { return c.MemSwappiness != 0 }, found: "how eagerly memory is swapped out is left to the node", mend: swapMend},
	{name: "memswap_limit", written: func(c types.ServiceConfig) bool { return c.MemSwapLimit != 0 }, found: "how much may be swapped out is left to the engine", mend: swapMend},
	{name: "network_mode", written: func(c types.ServiceConfig) bool {
		return c.NetworkMode != "" && c.NetworkMode != "bridge" && c.NetworkMode != "default"
	}, fatal: true,
		found: "network_mode is left out, and the task joins the stack's network", mend: "publish its ports with mode: host; what needs the network of a node or of another container runs beside the Swarm"},
	{name: "oom_kill_disable", written: func(c types.ServiceConfig) bool { return c.OomKillDisable },
		found: "tasks are killed when memory runs out, like all", mend: "reserve the memory: deploy: {resources: {reservations: {memory: 1g}}}"},
	{name: "pid", written: func(c types.ServiceConfig) bool { return own(c.Pid) },
		found: "each task sees its own processes only", mend: "run what looks at the node's processes beside the Swarm"},
	{name: "privileged", written: func(c types.ServiceConfig) bool { return c.Privileged }, fatal: true,
		found: "tasks are never privileged", mend: "name what it needs in cap_add, or run it on each host beside the Swarm"},
	{name: "post_start", written: func(c types.ServiceConfig) bool { return len(c.PostStart) > 0 }, fatal: true,
		found: "nothing runs after a task has started", mend: "do it in the entrypoint"},
	{name: "pre_stop", written: func(c types.ServiceConfig) bool { return len(c.PreStop) > 0 }, fatal: true,
		found: "nothing runs before a task stops", mend: "let the program do it on its stop_signal"},
	{name: "runtime", written: func(c types.ServiceConfig) bool { return c.Runtime != "" },
		found: "tasks run with the runtime that their engine uses by default", mend: "set default-runtime in daemon.json of the nodes, and choose them by deploy.placement"},
	{name: "security_opt", written: func(c types.ServiceConfig) bool { return len(c.SecurityOpt) > 0 },
		found: "tasks run with the security options that their engine has by default", mend: "set no-new-privileges and seccomp-profile in daemon.json of the nodes"},
	{name: "shm_size", written: func(c types.ServiceConfig) bool { return c.ShmSize != 0 },
		found: "tasks have 64 MB of shared memory", mend: "mount it: volumes: [{type: tmpfs, target: /dev/shm, tmpfs: {size: 256mb}}]"},
	{name: "storage_opt", written: func(c types.ServiceConfig) bool { return len(c.StorageOpt) > 0 },
		found: "options of the storage are left out", mend: "set storage-opts in daemon.json of the nodes"},
	{name: "tmpfs", written: func(c types.ServiceConfig) bool { return len(c.Tmpfs) > 0 },
		found: "nothing is mounted there: what is written goes to the disk of the node, or nowhere with read_only", mend: "write volumes: [{type: tmpfs, target: /run, tmpfs: {size: 64mb}}]"},
	{name: "userns_mode", written: func(c types.ServiceConfig) bool { return c.UserNSMode != "" },
		found: "tasks run in the user namespace that their engine uses for all", mend: "set userns-remap in daemon.json of the nodes"},
	{name: "uts", written: func(c types.ServiceConfig) bool { return c.Uts != "" },
		found: "each task has a host name of its own", mend: "write hostname: \"{{.Node.Hostname}}\" for the node's name"},
	{name: "volumes_from", written: func(c types.ServiceConfig) bool { return len(c.VolumesFrom) > 0 }, fatal: true,
		found: "volumes of other services are left out", mend: "name the volumes in both services"},
}

const (
	noTuning   = "how the processor's time is shared out is left to the node"
	tuningMend = "limit or reserve processors: deploy: {resources: {limits: {cpus: \"1\"}}}"
	swapMend   = "switch swap off on the nodes, or set it there for all"
)

const gpuMend = "announce the node's GPUs (node-generic-resources in daemon.json, nvidia as its default runtime) and reserve one: " +
	"deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: NVIDIA-GPU, value: 1}}]}}}"

// own tells whether a namespace is another than the one a container gets.
func own(mode string) bool { return mode != "" && mode != "private" && mode != "shareable" }

// ignored tells what a Swarm has no word for.
func (l *look) ignored(svc *stack.Service, c types.ServiceConfig) {
	for _, k := range keys {
		if !k.written(c) {
			continue
		}
		tell := l.Warn
		if k.fatal {
			tell = l.Fail
		}
		tell("P17."+strings.ReplaceAll(k.name, "_", "-"), at(svc, k.name), k.mend, "%s", k.found)
	}
	l.renamed(svc, c)
	l.builds(svc, c)
}

// renamed tells which names nobody has any more.
func (l *look) renamed(svc *stack.Service, c types.ServiceConfig) {
	if c.ContainerName == "" {
		return
	}
	l.Warn("P17.container-name", at(svc, "container_name"), "call the service "+c.ContainerName+", or give it that alias: networks: {NAME: {aliases: ["+c.ContainerName+"]}}",
		"no container is called %s: tasks are called %s_%s.1.ID, and the name of the service leads to them", c.ContainerName, l.Stack.Name, svc.Name)
}

// builds tells where images come from.
func (l *look) builds(svc *stack.Service, c types.ServiceConfig) {
	if svc.Built {
		l.Warn("P17.build", at(svc, "build"), "push it to a registry that every node reaches (shiksha build does)",
			"no node builds it, and each one pulls it: an image that is only on the host is not enough")
	}
	if svc.PullPolicy == types.PullPolicyNever || svc.PullPolicy == types.PullPolicyBuild {
		l.Warn("P17.pull-policy", at(svc, "pull_policy"), "push the image to a registry that every node reaches",
			"each node pulls the image that it lacks, whatever pull_policy says")
	}
	if c.Platform != "" {
		l.Warn("P17.platform", at(svc, "platform"), "write deploy: {placement: {constraints: [\"node.platform.arch==...\"]}}, as docker node inspect calls it (x86_64, aarch64)",
			"a task runs on any node whose platform the image has")
	}
}
