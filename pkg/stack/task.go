package stack

// Task is a command that runs once in a container of its own.
type Task struct {
	// Name is for labels and messages: "migrate".
	Name    string
	Command []string
	// Env is added to what the image or service has.
	Env map[string]string
	// Trial, where it is set, makes a container of a service fit to be tried before
	// anything of the release is there.
	Trial *Trial
	// What follows is for a container of an image only, not of a service. Network is
	// a network mode ("none", "container:<id>"), Binds are "host:container[:ro]" paths,
	// User is "uid:gid" or empty for the image's own.
	Image, Network, User string
	Binds                []string
	// Keep leaves the entrypoint of the image in front of the command.
	Keep bool
	// ShmSize is the size of its /dev/shm in bytes, 0 for the engine's default.
	ShmSize int64
}

// Trial is how the container of a service differs when it is tried before its
// release: it is on none of the stack's own networks, so that it meets nobody, and
// reserves nothing. Command replaces the image's entrypoint too.
type Trial struct {
	// Hosts are names that resolve in it, to their addresses.
	Hosts map[string]string
	// Volumes are the keys of those that the host does not have yet: they are left out.
	Volumes []string
	// Sources put another path of the host at a mount target.
	Sources map[string]string
}

// Ended is what a task came to. Output is the end of what it printed, both streams;
// Printed is that of its standard output alone.
type Ended struct {
	Exit    int
	Output  string
	Printed string
}
