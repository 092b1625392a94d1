// Package stack has the nouns that plans and rollouts speak of: a stack of services
// with pinned images, content-addressed files and an update policy, what runs of it
// on a host, and how it is sealed and brought back. It reads no file, calls nobody
// and imports nothing of this module.
package stack

import (
	"regexp"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// Order says whether the new units of a service start before or after the old
// ones stop (Swarm's update_config.order).
type Order string

// The orders of Compose's update_config.
const (
	StartFirst Order = "start-first"
	StopFirst  Order = "stop-first"
)

// FailureAction says what a failed update does (Swarm's
// update_config.failure_action; the default here is Rollback).
type FailureAction string

// The failure actions of Compose's update_config.
const (
	Rollback FailureAction = "rollback"
	Pause    FailureAction = "pause"
	Continue FailureAction = "continue"
)

// Update is how a service is rolled: update_config with its defaults filled in.
// Parallelism 0 means all units at once; it is 0 only where the file says 0, for
// one that says nothing gets 1.
type Update struct {
	Parallelism     int
	Delay           time.Duration
	Order           Order
	Monitor         time.Duration
	FailureAction   FailureAction
	MaxFailureRatio float64
}

// DefaultMonitor is how long a new unit must stay well after it became healthy,
// as in Swarm.
const DefaultMonitor = 5 * time.Second

// Condition is a depends_on condition of Compose.
type Condition string

// The conditions of Compose's depends_on.
const (
	Started   Condition = "service_started"
	Healthy   Condition = "service_healthy"
	Completed Condition = "service_completed_successfully"
)

// Dependency is one depends_on entry.
type Dependency struct {
	Service   string
	Condition Condition
	Restart   bool
	Required  bool
	// Linked is set where the service links to it as well: a unit of a single host then
	// finds that one only that was there when it was made.
	Linked bool
}

// Health is the part of a healthcheck the gate needs, Compose's defaults filled
// in; nil on a Service that has none of its own. (An image may still bring one:
// the gate looks at the running unit.)
type Health struct {
	Interval    time.Duration
	Timeout     time.Duration
	StartPeriod time.Duration
	Retries     int
	// Inherited is set where the file changes only the times of a check: the
	// test is the image's, if it has one.
	Inherited bool
}

// Budget is the longest a unit may take to its first healthy answer:
// start_period, then retries times (interval + timeout).
func (h *Health) Budget() time.Duration {
	return h.StartPeriod + time.Duration(h.Retries)*(h.Interval+h.Timeout)
}

// File is one file or directory of the workspace that a unit mounts.
type File struct {
	// Service and Target say where it goes; Source is its path in the workspace.
	Service, Target, Source string
	// Sum is the sha256 (hex) of the content: of a file's bytes (and of its
	// mode, where that is not 0644), or of a directory's sorted (path, mode,
	// sum) list.
	Sum string
	// Dir is set for a directory.
	Dir bool
	// Live is set for files of a service with Reload: HostPath is then stable
	// and Sum is not part of the config hash.
	Live bool
	// HostPath is the absolute path on the host that the unit mounts.
	HostPath string
	// Entries are the regular files to upload: one for a file, all for a
	// directory, in sorted order.
	Entries []Entry
	// Secret is set where the file's secrets name it. What was sealed before there was
	// such a field lacks it: ask IsSecret.
	Secret bool `json:",omitempty"`
}

// SecretsFolder is where a secret stands that has no absolute target.
const SecretsFolder = "/run/secrets/"

// IsSecret tells whether the file is a secret, by what the stack's file calls it or by
// where it is mounted.
func (f File) IsSecret() bool { return f.Secret || strings.HasPrefix(f.Target, SecretsFolder) }

// Entry is one regular file of a File. Path is relative to HostPath ("" for a
// single file), Source is where its bytes are in the workspace. Content is used
// instead of Source when the bytes come from the model (configs).
type Entry struct {
	Path    string
	Source  string
	Content []byte
	Mode    uint32
	Sum     string
}

// Service is one service of a stack, ready to be planned.
type Service struct {
	Name     string
	Replicas int
	// Image is what the Compose file names; Pinned is the same by digest
	// (repository@sha256:... or a local image's ID), empty until pinned.
	Image, Pinned string
	// Platform is the platform the Compose file asks for, or "".
	Platform string
	// PullPolicy is Compose's pull_policy, or "".
	PullPolicy string
	// Built is set where the file says how to build the image.
	Built bool
	// Hash is the config hash that Compose writes on the containers of this service, of the
	// model alone: what is sealed and recorded. Empty until pinned. Compare its units with
	// UnitHash.
	Hash string
	// Made is the hash on a unit that is made now, where that covers the container that it
	// shares with; "" where it does not. A look at what runs sets it, and it is in no sealed
	// stack.
	Made      string `json:"-"`
	Update    Update
	Rollback  Update
	StopGrace time.Duration
	Health    *Health
	DependsOn []Dependency
	// HostPorts are the published ports ("443/tcp"), sorted.
	HostPorts []string
	// ContainerName is container_name, or "".
	ContainerName string
	// Networks and Volumes are the keys of the top-level definitions it uses.
	Networks, Volumes []string
	// NetworkMode is network_mode ("host", "none", "service:x"), or "".
	NetworkMode string
	// Shares are the services whose network, IPC or PID namespace or whose
	// volumes this one uses. Compose resolves them to container IDs before it
	// hashes: compare its units with UnitHash.
	Shares []string
	// Global is set where the file asks for one unit on each node. A single host is one
	// node.
	Global bool
	// Virtual is set where the nodes' kernels balance the service's one address, so that
	// no gateway in front of it has to be switched.
	Virtual bool
	// Job is set for a service that others wait for with
	// service_completed_successfully: it has to end with 0, not stay up.
	Job bool
	Ext Extension
	// Environment holds the variables of the service, for reasons by name.
	Environment map[string]string
	Files       []File
	// FileSecrets are what its secrets that come from a file hold, as far as a log
	// could repeat it.
	FileSecrets []string
}

// Stack is a whole Compose project made ready for a host.
type Stack struct {
	Name     string
	Services map[string]*Service
	// Order lists the services, dependencies first, ties by name.
	Order []string
	// Dir is the folder of this project on the host.
	Dir string
	// Project is the model handed to the Compose SDK: images pinned, files
	// rewritten to host paths, update_config and rollback_config left out.
	Project *types.Project
	// Checks are x-shiksha.checks of the last Compose file that has them, nil for
	// none.
	Checks *Checks
	// URL is the address that users come in by, which checks ask; "" where nobody said it. It
	// may hold a password, and is kept where secrets are: in the sealed stack alone.
	URL string
	// Inactive are the services of the file that are in no active profile, with their
	// profiles: no part of the stack, and nothing that left it.
	Inactive map[string][]string
	// Engine is what x-shiksha.engine at the top level asks to run on, "" where it says
	// nothing.
	Engine string
	// Scheduled is set once the stack is adapted to a Swarm, whose nodes make its volumes
	// with the first task that mounts them.
	Scheduled bool
	// Warnings are things worth telling that stop nothing.
	Warnings []string

	// Places knows where keys stand; nil for a stack that was not read from files.
	Places *Places

	// others are the secrets of stacks whose units this one takes the place of.
	others []string
}

// projectName is what Compose takes for the name of a project.
var projectName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

// ValidProject tells whether a project may be called so: the name becomes a folder on
// the host and a prefix of every container.
func ValidProject(name string) bool { return projectName.MatchString(name) && len(name) <= 128 }

// DefaultGrace is how long a unit may take to stop where the Compose file says
// nothing (Compose's stop_grace_period).
const DefaultGrace = 10 * time.Second

// OwnGrace asks for the time to stop that a unit was made with, which is what the file
// said then: of what left the stack, or runs as another release made it, nothing else says.
const OwnGrace time.Duration = -1
