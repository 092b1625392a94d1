package inputs

// Query is the inputs of the commands that only ask about a project that is on a
// host already, whatever its Compose file says.
type Query struct {
	Connection

	Project  string `name:"project" group:"stack" required:"" example:"shop" help:"Name of the Compose project on the host."`
	StateDir string `name:"state-dir" group:"stack" placeholder:"DIR" help:"Folder on the host for releases, backups and the lock. Default: /var/lib/shiksha, or the user's own state folder where that cannot be written, or is empty and theirs is not."`
	JSON     bool   `name:"json" person:"" help:"Print JSON."`
}

// Check tells what is wrong with the inputs beyond their types.
func (q *Query) Check(s Source) []error {
	problems := append(q.Connection.Check(s), CheckStateDir(q.StateDir)...)
	return append(problems, CheckProject(q.Project)...)
}
