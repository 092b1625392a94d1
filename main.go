// Command shiksha takes a Docker Compose stack from a commit to a verified
// release on the team's own host, and back again when it goes wrong.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"github.com/shiksha/actions/actions/backup"
	"github.com/shiksha/actions/actions/build"
	"github.com/shiksha/actions/actions/deploy"
	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/rollback"
	"github.com/shiksha/actions/actions/verify"
)

// commands are the verbs for people; the actions call them by their names.
type commands struct {
	Pipeline  pipeline                `cmd:"" help:"Build, deploy, verify, and back when it fails: the whole way in one step."`
	Build     build.Command           `cmd:"" help:"Build the images of the stack, push them, and say their digests."`
	Deploy    deploy.Command          `cmd:"" help:"Release the stack: plan, roll, check, and back when it fails."`
	Plan      deploy.PlanCommand      `cmd:"" help:"Say what a deploy would change and why; change nothing."`
	Preflight deploy.PreflightCommand `cmd:"" help:"Look for what would go wrong, without a host."`
	Verify    verify.Command          `cmd:"" help:"Look whether what runs is what was released and works; change nothing."`
	Rollback  rollback.Command        `cmd:"" help:"Bring an earlier release back as a whole, from what the host keeps."`
	Backup    backup.TakeCommand      `cmd:"" help:"Dump the databases and read the dumps back."`
	Backups   backup.ListCommand      `cmd:"" help:"List the dumps of the databases."`
	Status    deploy.StatusCommand    `cmd:"" help:"Say what runs on a host."`
	History   deploy.HistoryCommand   `cmd:"" help:"List what was released on a host."`
	Version   version                 `cmd:"" help:"Say which build this is."`
}

const about = `Takes a Docker Compose stack to a verified release on your own host over SSH, without losing a request, and back
when it goes wrong. The Compose file is the configuration; the host needs only sshd and Docker Engine.

A first release:

    ssh-keyscan gpu1.example.org >> ~/.ssh/known_hosts    # then compare the fingerprint with the host's own
    ssh-add ~/.ssh/releases                               # its public half is in authorized_keys there
    cd my-stack                                           # the folder of compose.yaml
    shiksha preflight --version v1
    shiksha plan    --host deploy@gpu1.example.org --version v1
    shiksha deploy  --host deploy@gpu1.example.org --version v1
    shiksha status  --host deploy@gpu1.example.org --project my-stack

` + door.ExitStatus

// release is the version that the release workflow builds.
var release string

type version struct{}

// Run prints the version, or the commit of a build that was not released.
func (version) Run(s *door.Session) error {
	info, _ := debug.ReadBuildInfo()
	name := release
	if name == "" {
		name = info.Main.Version
	}
	s.Print(fmt.Sprintf("shiksha %s (%s)\n", name, info.GoVersion))
	return nil
}

func main() {
	os.Exit(door.Process().Main(&commands{}, kong.Name("shiksha"), kong.Description(about)))
}
