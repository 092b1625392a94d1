package report

import (
	"fmt"
	"strings"
	"time"
)

// Backups lists the dumps of a project's databases, the newest first.
type Backups struct {
	Project, Host string
	Backups       []Backup
}

// Backup is one of them. Lost says why it cannot be used, "" when it can.
type Backup struct {
	ID, Database  string
	Taken, Proven time.Time
	Bytes, Rows   int64
	Release       int
	Version, Lost string
}

// Text gives the backups as a table.
func (b *Backups) Text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s on %s\n", clean(b.Project), clean(b.Host))
	if len(b.Backups) == 0 {
		out.WriteString("there is no backup here\n")
		return out.String()
	}
	out.WriteString("\n")
	table(&out, []string{"BACKUP", "DATABASE", "TAKEN (UTC)", "SIZE", "ROWS", "RELEASE", "STATE"}, len(b.Backups), func(i int) []string {
		v := b.Backups[i]
		of := ""
		if v.Release > 0 {
			of = strings.TrimSpace(fmt.Sprintf("%d %s", v.Release, v.Version))
		}
		state := "read back whole"
		if !v.Proven.IsZero() {
			state = "proven " + moment(v.Proven)
		}
		if v.Lost != "" {
			state = "LOST: " + v.Lost
		}
		return []string{v.ID, v.Database, moment(v.Taken), fmt.Sprintf("%.1f MB", float64(v.Bytes)/1e6), number(int(v.Rows)), of, state}
	})
	return out.String()
}
