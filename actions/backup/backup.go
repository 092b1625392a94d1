// Package backup is the doorway of the verb that dumps databases: the commands
// backup and backups.
package backup

import (
	"context"
	"encoding/json"
	"time"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	verb "github.com/shiksha/actions/pkg/backups"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/report"
)

// Inputs are those of both commands.
type Inputs struct {
	inputs.Query
	inputs.Vault
}

func (in *Inputs) options(s *door.Session) verb.Options {
	run := s.Action.Run()
	return verb.Options{Host: in.Config(s.Person), Vault: in.VaultConfig(in.Config(s.Person)), Project: in.Project, StateDir: in.StateDir, RunURL: run.URL, Actor: run.Actor}
}

// Verb is what a command carries out.
type Verb func(context.Context, verb.Options, event.Sink) (*verb.Result, error)

// TakeCommand is `shiksha backup`.
type TakeCommand struct {
	Inputs
	Prove    bool          `name:"prove" group:"stack" default:"false" help:"Restore each new backup into a throwaway server without a network, and compare the rows of every table."`
	LockWait time.Duration `name:"lock-wait" group:"stack" default:"10m" help:"How long to wait while somebody releases this project."`

	Verb Verb `kong:"-"`
}

// Help is what `shiksha backup --help` teaches.
func (*TakeCommand) Help() string {
	return `Dumps every database of the release that serves whose service has x-shiksha.backups, on the host itself (in a
Swarm on the node that has the database):

    services:
      postgres:
        x-shiksha:
          backups:                                   # database and user are the unit's own
            keep-days: 7
            keep-least: 3
            copy: sftp://backup@vault.example.org/srv/backups/gpu1

A dump counts as a backup when pg_dump ended well and the whole file was read back; only then old ones may go.
With copy each goes to another host as well, with the key of --backup-ssh-key; what has no copy yet is copied the next time, and a copy
that fails makes the command end with 1. Where node_exporter reads STATE-DIR/metrics, shiksha_backup_last_success_timestamp_seconds tells of the last one.

    shiksha backup  --host deploy@gpu1.example.org --project shop
    shiksha backup  --host deploy@gpu1.example.org --project shop --prove
    shiksha backups --host deploy@gpu1.example.org --project shop

EXIT STATUS

    0  taken: every database has a new dump that was read back, and its copy
    1  failed: a proof or a copy; what was made is listed
    2  refused: a database could not be dumped, or none asks for it; older backups stay. So they do, and it ends with 2, where the newest
       release cannot be read: what can be dumped is
    3  bad input: nothing was dumped
    4  locked: somebody else is releasing this project
    5  interrupted: older backups stay, run it again`
}

// Run dumps.
func (c *TakeCommand) Run(s *door.Session) error {
	do := c.Verb
	if do == nil {
		do = verb.Take
	}
	o := c.options(s)
	o.Prove, o.LockWait = c.Prove, c.LockWait
	result, err := do(s.Context, o, s.Sink)
	if err != nil && (result == nil || len(result.Backups) == 0) {
		return err
	}
	return tell(s, result, c.JSON, err)
}

// ListCommand is `shiksha backups`.
type ListCommand struct {
	Inputs

	Verb Verb `kong:"-"`
}

// Help is what `shiksha backups --help` teaches.
func (*ListCommand) Help() string {
	return `Lists the backups of a project's databases, the newest first: when, of which release, how large, whether proven by a
restore. The first column is what rollback takes as restore-database; backups on another node of a Swarm have its name in the last.

    shiksha backups --host deploy@gpu1.example.org --project shop`
}

// Run lists.
func (c *ListCommand) Run(s *door.Session) error {
	do := c.Verb
	if do == nil {
		do = verb.List
	}
	result, err := do(s.Context, c.options(s), s.Sink)
	if err != nil {
		return err
	}
	return tell(s, result, c.JSON, nil)
}

func tell(s *door.Session, result *verb.Result, asJSON bool, failed error) error {
	if asJSON {
		data, err := json.Marshal(result)
		if err != nil {
			return err
		}
		s.Print(string(data) + "\n")
		return failed
	}
	told := report.Backups{Project: result.Project, Host: result.Host}
	for _, b := range result.Backups {
		told.Backups = append(told.Backups, report.Backup{ID: b.ID, Database: b.Database, Taken: b.Taken, Bytes: b.Bytes, Rows: b.Total(),
			Release: b.Release, Version: b.Version, Proven: b.Proven, Lost: b.Lost, Copied: b.CopiedTo, Away: b.Away, Node: b.Node})
	}
	s.Print(told.Text())
	return failed
}
