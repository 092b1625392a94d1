package stack

import (
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
)

// StateLabel is the state folder that a unit's release was recorded in. It is also what tells
// a unit of ours from one that Compose itself made: its own labels are the same on both.
const StateLabel = "io.shiksha.state-dir"

// Label gives the project and the labels of its containers the folder on the
// host, whatever the runner's checkout is called. Compose compares no container
// by them and `docker compose ls` shows them.
func Label(p *types.Project, dir string, files []string) {
	p.WorkingDir, p.ComposeFiles = dir, files
	for name, c := range p.Services {
		c.CustomLabels = types.Labels{
			api.ProjectLabel:     p.Name,
			api.ServiceLabel:     name,
			api.VersionLabel:     api.ComposeVersion,
			api.WorkingDirLabel:  dir,
			api.ConfigFilesLabel: strings.Join(files, ","),
			api.OneoffLabel:      "False",
		}
		p.Services[name] = c
	}
}
